"""Small models on which methods of explanation go wrong without a word, and others on which they do not."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ROWS, PICTURES = (6,), (1, 4, 4)
EVERY = frozenset({"every"})
GRADIENT = frozenset({"integrated_gradients", "saliency", "input_x_gradient", "smoothgrad", "gradient_shap"})
BACK = frozenset({"guided_backprop", "deconvolution"})
CAM = frozenset({"grad_cam", "guided_grad_cam"})
LAYERS = BACK | CAM | {"deep_lift", "deep_lift_shap", "lrp"}
BASED = frozenset(
    {
        "integrated_gradients",
        "input_x_gradient",
        "gradient_shap",
        "deep_lift",
        "occlusion",
        "ablation",
        "shapley",
        "kernel_shap",
        "lime",
    }
)
DEEP = frozenset({"deep_lift", "deep_lift_shap"})
TWO = DEEP | BACK
THREE = TWO | {"lrp"}


class Made(nn.Module):
    """A forward pass written down in one line, with the layers that it uses."""

    def __init__(self, ask: Callable[[Any, Tensor], Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.ask = ask
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.ask(self, inputs)


class Straight(torch.autograd.Function):
    """Rounds, and says that its gradient is one."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        return inputs.round()

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> Tensor:
        return grad[0]


class Wrong(torch.autograd.Function):
    """A gradient that somebody wrote by hand, and got wrong."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        return inputs.tanh()

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> Tensor:
        return grad[0] * 2


class Counter(nn.Module):
    """Remembers how often it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(6, 3)
        self.calls = 0.0

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        return self.last(inputs) * self.calls


@dataclass(frozen=True, slots=True, kw_only=True)
class Trap:
    """A model, and the methods that have to be refused on it; the others have to be right.

    Attributes:
        make: The model.
        refused: Methods by name, or `EVERY`; Grad-CAM and its guided kin are refused on every row of numbers.
        shape: Of one example.
        zero: Whether the baseline is zero, and not noise.
        inputs: What becomes of the inputs first.
    """

    make: Callable[[], nn.Module]
    refused: frozenset[str]
    shape: tuple[int, ...] = ROWS
    zero: bool = False
    inputs: Callable[[Tensor], Tensor] = lambda x: x


def stack(*middle: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), *middle, nn.Linear(8, 3))


def made(ask: Callable[[Any, Tensor], Tensor], **layers: nn.Module) -> nn.Module:
    return Made(ask, first=nn.Linear(6, 8), last=nn.Linear(8, 3), **layers)


def picture(*middle: nn.Module, width: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), *middle, nn.Flatten(), nn.Linear(width, 3))


def reused() -> nn.Module:
    relu = nn.ReLU()
    return nn.Sequential(nn.Linear(6, 8), relu, nn.Linear(8, 8), relu, nn.Linear(8, 3))


def hooked() -> nn.Module:
    model = stack(nn.ReLU())
    model[1].register_full_backward_hook(lambda module, given, output: None)
    return model


def attending() -> nn.Module:
    layer = nn.MultiheadAttention(8, 2, batch_first=True)
    return Made(
        lambda m, x: m.last(m.layer(m.up(x[..., None]), m.up(x[..., None]), m.up(x[..., None]))[0].mean(dim=1)),
        up=nn.Linear(1, 8),
        layer=layer,
        last=nn.Linear(8, 3),
    )


def recurrent() -> nn.Module:
    return Made(
        lambda m, x: m.last(m.layer(x[..., None])[0][:, -1]), layer=nn.GRU(1, 8, batch_first=True), last=nn.Linear(8, 3)
    )


TRAPS: Mapping[str, Trap] = {
    "relu as a function": Trap(make=lambda: made(lambda m, x: m.last(F.relu(m.first(x)))), refused=TWO),
    "relu as a method": Trap(make=lambda: made(lambda m, x: m.last(m.first(x).relu())), refused=TWO),
    "a function beside a layer": Trap(
        make=lambda: made(lambda m, x: m.last(m.act(m.first(x)) + m.first(-x).relu()), act=nn.ReLU()), refused=TWO
    ),
    "where instead of relu": Trap(
        make=lambda: made(lambda m, x: m.last(torch.where(m.first(x) > 0, m.first(x), 0.0))), refused=THREE
    ),
    "clamp instead of relu": Trap(make=lambda: made(lambda m, x: m.last(m.first(x).clamp(min=0))), refused=THREE),
    "a relu used twice": Trap(make=reused, refused=TWO),
    "gelu": Trap(make=lambda: stack(nn.GELU()), refused=TWO),
    "silu": Trap(make=lambda: stack(nn.SiLU()), refused=TWO),
    "relu6": Trap(make=lambda: stack(nn.ReLU6()), refused=TWO),
    "mish": Trap(make=lambda: stack(nn.Mish()), refused=TWO),
    "hardswish": Trap(make=lambda: stack(nn.Hardswish()), refused=TWO),
    "tanh": Trap(make=lambda: stack(nn.Tanh()), refused=BACK),
    "gelu after relu": Trap(make=lambda: stack(nn.ReLU(), nn.Linear(8, 8), nn.GELU()), refused=TWO),
    "layer norm": Trap(make=lambda: stack(nn.LayerNorm(8), nn.ReLU()), refused=DEEP),
    "softmax at the end": Trap(make=lambda: nn.Sequential(stack(nn.ReLU()), nn.Softmax(dim=1)), refused=DEEP),
    "a gate": Trap(make=lambda: made(lambda m, x: m.last(m.act(m.first(x)) * m.first(x)), act=nn.ReLU()), refused=DEEP),
    "attention": Trap(make=attending, refused=TWO),
    "recurrence": Trap(make=recurrent, refused=THREE),
    "maxpool with a noisy baseline": Trap(
        make=lambda: picture(nn.ReLU(), nn.MaxPool2d(2), width=12), refused=DEEP, shape=PICTURES
    ),
    "maxpool before relu": Trap(
        make=lambda: picture(nn.MaxPool2d(2), nn.ReLU(), width=12), refused=DEEP, shape=PICTURES
    ),
    "maxpool as a function": Trap(
        make=lambda: Made(
            lambda m, x: m.last(F.max_pool2d(m.act(m.conv(x)), 2).flatten(1)),
            conv=nn.Conv2d(1, 3, 3, padding=1),
            act=nn.ReLU(),
            last=nn.Linear(12, 3),
        ),
        refused=DEEP,
        shape=PICTURES,
    ),
    "a convolution used twice": Trap(
        make=lambda: Made(
            lambda m, x: m.last(m.act(m.conv(m.conv(x))).flatten(1)),
            conv=nn.Conv2d(1, 1, 3, padding=1),
            act=nn.ReLU(),
            last=nn.Linear(16, 3),
        ),
        refused=CAM,
        shape=PICTURES,
    ),
    "a last convolution that leads nowhere": Trap(
        make=lambda: Made(
            lambda m, x: (m.last(m.act(m.conv(x)).flatten(1)), m.aside(x))[0],
            conv=nn.Conv2d(1, 2, 3, padding=1),
            act=nn.ReLU(),
            aside=nn.Conv2d(1, 2, 3, padding=1),
            last=nn.Linear(32, 3),
        ),
        refused=CAM,
        shape=PICTURES,
    ),
    "hooks of somebody else": Trap(make=hooked, refused=THREE),
    "rounding": Trap(make=lambda: made(lambda m, x: m.last(m.first(x).round())), refused=GRADIENT | LAYERS),
    "rounding that hides": Trap(
        make=lambda: made(lambda m, x: m.last(Straight.apply(m.first(x)))), refused=GRADIENT | LAYERS
    ),
    "a gradient by hand": Trap(
        make=lambda: made(lambda m, x: m.last(Wrong.apply(m.first(x)))), refused=GRADIENT | LAYERS
    ),
    "a part that is detached": Trap(
        make=lambda: made(lambda m, x: m.last(m.act(m.first(x)) + m.act(m.first(x.detach() ** 2))), act=nn.ReLU()),
        refused=GRADIENT | LAYERS,
    ),
    "no gradient at all": Trap(make=lambda: made(lambda m, x: m.last(m.first(x)).detach()), refused=GRADIENT | LAYERS),
    "decided": Trap(
        make=lambda: made(lambda m, x: F.one_hot(m.last(m.first(x)).argmax(dim=1), 3).to(x) + 0 * m.last(m.first(x))),
        refused=GRADIENT | LAYERS,
    ),
    "infinite gradient": Trap(
        make=lambda: made(lambda m, x: m.last(m.first((x * x).sqrt()))),
        refused=GRADIENT | LAYERS,
        zero=True,
        inputs=lambda x: x * torch.tensor([1.0, 1, 0, 1, 1, 1]).to(x),
    ),
    "dropout that never ends": Trap(
        make=lambda: made(lambda m, x: m.last(F.dropout(m.first(x), training=True))), refused=EVERY
    ),
    "noise inside": Trap(make=lambda: made(lambda m, x: m.last(m.first(x) + torch.randn(8).to(x))), refused=EVERY),
    "a memory": Trap(make=Counter, refused=EVERY),
    "the batch's own statistics": Trap(
        make=lambda: stack(nn.BatchNorm1d(8, track_running_stats=False), nn.ReLU()), refused=EVERY
    ),
    "the batch's mean": Trap(make=lambda: made(lambda m, x: m.last(m.first(x - x.mean(dim=0)))), refused=EVERY),
    "not finite at the baseline": Trap(
        make=lambda: made(lambda m, x: m.last(m.first(x.log()))),
        refused=BASED | LAYERS,
        zero=True,
        inputs=lambda x: x.abs() + 1,
    ),
}


class Residual(nn.Module):
    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + self.inside(inputs)


class Beside(nn.Module):
    def __init__(self, *ways: nn.Module) -> None:
        super().__init__()
        self.ways = nn.ModuleList(ways)

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.cat([way(inputs) for way in self.ways], dim=1)


def conv(**settings: Any) -> nn.Module:
    return nn.Conv2d(3, 3, 3, **{"padding": 1, **settings})


CLEAN: Mapping[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear then relu": (lambda: stack(nn.ReLU()), ROWS),
    "deep": (lambda: stack(nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU()), ROWS),
    "relu in place": (lambda: stack(nn.ReLU(inplace=True)), ROWS),
    "batch norm": (lambda: stack(nn.BatchNorm1d(8), nn.ReLU()), ROWS),
    "dropout": (lambda: stack(nn.ReLU(), nn.Dropout()), ROWS),
    "residual": (lambda: stack(Residual(nn.Sequential(nn.Linear(8, 8), nn.ReLU()))), ROWS),
    "without bias": (
        lambda: nn.Sequential(nn.Linear(6, 8, bias=False), nn.ReLU(), nn.Linear(8, 3, bias=False)),
        ROWS,
    ),
    "two ways": (lambda: nn.Sequential(Beside(nn.Linear(6, 4), nn.Linear(6, 4)), nn.ReLU(), nn.Linear(8, 3)), ROWS),
    "normalised inside": (lambda: Made(lambda m, x: m.body((x - 0.3) / 2), body=stack(nn.ReLU())), ROWS),
    "a sequence": (
        lambda: nn.Sequential(nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)),
        ROWS,
    ),
    "one convolution": (lambda: picture(nn.ReLU(), width=48), PICTURES),
    "two convolutions": (lambda: picture(nn.ReLU(), conv(), nn.ReLU(), width=48), PICTURES),
    "convolutions and batch norm": (lambda: picture(nn.BatchNorm2d(3), nn.ReLU(), width=48), PICTURES),
    "convolutions in place": (lambda: picture(nn.ReLU(inplace=True), width=48), PICTURES),
    "average pooling": (lambda: picture(nn.ReLU(), nn.AvgPool2d(2), width=12), PICTURES),
    "global average pooling": (lambda: picture(nn.ReLU(), nn.AdaptiveAvgPool2d(1), width=3), PICTURES),
    "strides": (lambda: picture(nn.ReLU(), conv(stride=2), nn.ReLU(), width=12), PICTURES),
    "dilation": (lambda: picture(nn.ReLU(), conv(dilation=2, padding=2), nn.ReLU(), width=48), PICTURES),
    "groups": (lambda: picture(nn.ReLU(), conv(groups=3), nn.ReLU(), width=48), PICTURES),
    "a residual picture": (lambda: picture(nn.ReLU(), Residual(nn.Sequential(conv(), nn.ReLU())), width=48), PICTURES),
    "a dense picture": (lambda: picture(nn.ReLU(), Beside(conv(), nn.Identity()), nn.ReLU(), width=96), PICTURES),
    "reflected borders": (lambda: picture(nn.ReLU(), conv(padding_mode="reflect"), nn.ReLU(), width=48), PICTURES),
    "upsampling": (
        lambda: picture(nn.ReLU(), nn.Upsample(scale_factor=2), nn.AvgPool2d(4), width=12),
        PICTURES,
    ),
    "a transposed convolution": (
        lambda: picture(nn.ReLU(), nn.ConvTranspose2d(3, 2, 2), nn.ReLU(), width=50),
        PICTURES,
    ),
}
"""Models on which no method that fits their inputs may be refused."""
