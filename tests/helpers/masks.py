"""Ways to hide a gradient, round any model: answers stay about the same, and attacks along the gradient get lost."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

Mask = Callable[[nn.Module], nn.Module]


class Masked(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


class _Backward(torch.autograd.Function):
    """The identity, whose gradient is what `change` makes of it."""

    @staticmethod
    def forward(ctx, given, change):
        ctx.change = change
        return given.clone()

    @staticmethod
    def backward(ctx, *gradients):
        return ctx.change(gradients[0]), None


def turned(change: Callable[[Tensor], Tensor]) -> Mask:
    class Turned(Masked):
        def forward(self, given: Tensor) -> Tensor:
            return self.model(_Backward.apply(given, change))

    return Turned


def before(change: Callable[[Tensor], Tensor]) -> Mask:
    class Before(Masked):
        def forward(self, given: Tensor) -> Tensor:
            return self.model(change(given))

    return Before


def after(change: Callable[[Tensor], Tensor]) -> Mask:
    class After(Masked):
        def forward(self, given: Tensor) -> Tensor:
            return change(self.model(given))

    return After


def decoy(model: nn.Module) -> nn.Module:
    """The values of the model, the gradient of an untrained one."""
    with torch.random.fork_rng():
        torch.manual_seed(99)
        other = nn.Sequential(nn.Flatten(), nn.LazyLinear(20), nn.Tanh(), nn.Linear(20, 10))

    class Decoy(Masked):
        def forward(self, given: Tensor) -> Tensor:
            wrong = other(given)
            return self.model(given).detach() + wrong - wrong.detach()

    return Decoy(model)


def votes(model: nn.Module) -> nn.Module:
    """Votes of five answers to shifted inputs: piecewise constant."""

    class Votes(Masked):
        def forward(self, given: Tensor) -> Tensor:
            offsets = torch.linspace(-0.05, 0.05, 5)
            counted = [nn.functional.one_hot(self.model(given + by).argmax(dim=1), 10) for by in offsets]
            return torch.stack(counted).sum(dim=0).float() + 0 * given.sum()

    return Votes(model)


def blocks(given: Tensor) -> Tensor:
    """Every other cosine of a picture rounded away, as in JPEG."""
    size = given.shape[-1]
    place = torch.arange(size).float()
    basis = torch.cos(torch.pi / size * (place[None] + 0.5) * place[:, None]) * (2 / size) ** 0.5
    basis[0] /= 2**0.5
    found = basis @ given @ basis.T
    return basis.T @ (torch.round(found * 4) / 4) @ basis


def thermometer(given: Tensor) -> Tensor:
    return (given[..., None] > torch.linspace(0.05, 0.95, 10)).float().mean(dim=-1)


def winners(share: float) -> Mask:
    """Only the largest units of every hidden layer pass (k-winner-take-all)."""

    class Winners(nn.Module):
        def forward(self, given: Tensor) -> Tensor:
            flat = given.flatten(start_dim=1)
            least = flat.topk(max(1, int(share * flat.shape[1])), dim=1).values[:, -1:]
            return (flat * (flat >= least)).reshape(given.shape)

    def mask(model: nn.Module) -> nn.Module:
        assert isinstance(model, nn.Sequential)
        return nn.Sequential(*[Winners() if isinstance(part, nn.ReLU | nn.GELU) else part for part in model])

    return mask


def drops(rate: float) -> Mask:
    class Drops(Masked):
        def forward(self, given: Tensor) -> Tensor:
            return self.model(nn.functional.dropout(given, rate, training=True))

    return Drops


def shifts(model: nn.Module) -> nn.Module:
    """Rolls every batch by chance."""

    class Shifts(Masked):
        def forward(self, given: Tensor) -> Tensor:
            return self.model(given.roll(int(torch.randint(0, 2, ())), dims=-1))

    return Shifts(model)


def peeping(model: nn.Module) -> nn.Module:
    """Other answers where a gradient is wanted."""

    class Peeping(Masked):
        def forward(self, given: Tensor) -> Tensor:
            outputs = self.model(given)
            return outputs.roll(1, dims=1) if given.requires_grad else outputs

    return Peeping(model)


def coupled(model: nn.Module) -> nn.Module:
    """Every input moved by the mean of its batch."""

    class Coupled(Masked):
        def forward(self, given: Tensor) -> Tensor:
            return self.model(given + 0.3 * (given.mean(dim=0, keepdim=True) - 0.3))

    return Coupled(model)


def steps(levels: int) -> Callable[[Tensor], Tensor]:
    return lambda given: torch.round(given * levels) / levels


def staircase(given: Tensor) -> Tensor:
    """A smooth staircase: a tiny slope nearly everywhere."""
    levels = 10.0
    return given + 0.98 * torch.sin(2 * torch.pi * levels * given) / (2 * torch.pi * levels)


TUNED: dict[str, Mask] = {
    "no gradient": turned(torch.zeros_like),
    "turned round": turned(lambda gradient: -gradient),
    "a random gradient": turned(torch.randn_like),
    "eight levels": before(steps(7)),
    "probabilities": after(lambda logits: logits.softmax(dim=1)),
    "noise": before(lambda given: given + 0.1 * torch.randn_like(given)),
    "decoy": decoy,
    "detached": before(torch.detach),
    "winners": winners(0.15),
}
"""Those that the limits were chosen by."""
HELD: dict[str, Mask] = {
    "mirrored gradient": turned(lambda gradient: gradient.flip(-1)),
    "shuffled gradient": turned(lambda gradient: gradient.roll(5, dims=-1).roll(3, dims=-2)),
    "gradient of one sign": turned(torch.abs),
    "mostly noise": turned(lambda gradient: gradient + 5 * gradient.abs().mean() * torch.randn_like(gradient)),
    "gradient of one pixel": turned(lambda gradient: torch.where(gradient.abs() < gradient.abs().max(), 0.0, gradient)),
    "gradient not a number": turned(lambda gradient: gradient * torch.nan),
    "three levels": before(steps(2)),
    "sixteen levels": before(steps(15)),
    "jpeg": before(blocks),
    "thermometer": before(thermometer),
    "votes": votes,
    "rounded logits": after(lambda logits: torch.round(logits)),
    "one hot": after(lambda logits: nn.functional.one_hot(logits.argmax(dim=1), 10).float() + 0 * logits),
    "sharp probabilities": after(lambda logits: (20 * logits).softmax(dim=1)),
    "dropout": drops(0.2),
    "little noise": before(lambda given: given + 0.02 * torch.randn_like(given)),
    "noisy logits": after(lambda logits: logits + 0.1 * torch.randn_like(logits)),
    "random shift": shifts,
    "peeping": peeping,
    "coupled": coupled,
    "few winners": winners(0.05),
    "shattered": before(lambda given: given + 0.01 * torch.sin(3000 * given)),
    "constant": after(lambda logits: 0 * logits + torch.arange(10.0)),
}
"""Those that they were not."""
