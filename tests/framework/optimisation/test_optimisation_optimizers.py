import copy
from functools import partial

import pytest
import torch
from pytorch_lightning import Trainer, seed_everything
from pytorch_lightning.callbacks import EMAWeightAveraging
from torch import nn

from steelyard.models import MLP
from steelyard.optimisation import SAM, Lion
from steelyard.problem import Refused
from steelyard.tasks import Classification
from steelyard.testing.tiny import TinyImages


def fit(optimizer, *, epochs=3, callbacks=(), **options):
    seed_everything(0, verbose=False)
    model = MLP(input_shape=(1, 6, 6), classes=3, hidden=(16,))
    task = Classification(model=model, optimizer=optimizer, classes=3, **options)
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
    )
    trainer.fit(task, TinyImages())
    return task, trainer


def test_lion_is_the_algorithm_of_the_paper():
    generator = torch.Generator().manual_seed(0)
    weight = nn.Parameter(torch.randn(5, generator=generator))
    x, m = weight.detach().clone(), torch.zeros(5)
    optimizer = Lion([weight], lr=0.1, betas=(0.8, 0.95), weight_decay=0.3)
    for _ in range(6):
        g = torch.randn(5, generator=generator)
        weight.grad = g.clone()
        optimizer.step()
        c = 0.8 * m + 0.2 * g
        x = x - 0.1 * (torch.sign(c) + 0.3 * x)
        m = 0.95 * m + 0.05 * g
        torch.testing.assert_close(weight.detach(), x)


def test_lion_out_of_range_is_refused():
    with pytest.raises(Refused, match="out of range"):
        fit(partial(Lion, lr=-1.0))


def test_sam_steps_by_the_gradient_at_the_worst_point_nearby():
    weight = nn.Parameter(torch.tensor([3.0, 4.0]))
    scale = torch.tensor([1.0, 10.0])

    def closure():
        weight.grad = None
        loss = (scale * weight**2).sum() / 2
        loss.backward()
        return loss

    optimizer = SAM([weight], base=partial(torch.optim.SGD, lr=0.1), radius=0.5)
    gradient = scale * weight.detach()
    worst = weight.detach() + 0.5 * gradient / gradient.norm()
    wanted = weight.detach() - 0.1 * scale * worst
    loss = optimizer.step(closure)
    assert float(loss.detach()) == pytest.approx((9 + 160) / 2)
    torch.testing.assert_close(weight.detach(), wanted)


def test_sam_looks_twice_with_the_same_dropout():
    weight, seen = nn.Parameter(torch.ones(8)), []

    def closure():
        weight.grad = None
        mask = (torch.rand(8) > 0.5).float()
        seen.append(mask)
        loss = (mask * weight).sum()
        loss.backward()
        return loss

    torch.manual_seed(0)
    SAM([weight], base=partial(torch.optim.SGD, lr=0.1)).step(closure)
    assert len(seen) == 2
    assert torch.equal(*seen)


def test_sam_at_a_flat_point_stays_finite():
    weight = nn.Parameter(torch.zeros(3))

    def closure():
        weight.grad = torch.zeros(3)
        return weight.sum() * 0

    SAM([weight], base=partial(torch.optim.SGD, lr=0.1)).step(closure)
    assert torch.equal(weight.detach(), torch.zeros(3))


def test_sam_goes_on_from_its_state():
    def make():
        weight = nn.Parameter(torch.tensor([1.0, -2.0]))
        return weight, SAM([weight], base=partial(torch.optim.Adam, lr=0.1))

    def go(weight, optimizer):
        def closure():
            weight.grad = None
            loss = (weight**4).sum()
            loss.backward()
            return loss

        optimizer.step(closure)

    weight, optimizer = make()
    for _ in range(3):
        go(weight, optimizer)
    other, resumed = make()
    other.data.copy_(weight.data)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for group in resumed.param_groups:
        group["lr"] = 0.05
    for group in optimizer.param_groups:
        group["lr"] = 0.05
    go(weight, optimizer)
    go(other, resumed)
    assert torch.equal(weight, other)


def test_sam_without_a_closure_and_without_a_radius_is_refused():
    optimizer = SAM([nn.Parameter(torch.ones(1))], base=partial(torch.optim.SGD, lr=0.1))
    with pytest.raises(Refused, match="twice"):
        optimizer.step()
    with pytest.raises(Refused, match=r"optimizer\.radius"):
        SAM([nn.Parameter(torch.ones(1))], base=partial(torch.optim.SGD, lr=0.1), radius=0)


@pytest.mark.parametrize(
    "optimizer",
    [
        partial(Lion, lr=0.003),
        partial(SAM, base=partial(torch.optim.SGD, lr=0.2, momentum=0.9)),
        partial(torch.optim.RMSprop, lr=0.003),
    ],
    ids=["lion", "sam", "rmsprop"],
)
@pytest.mark.parametrize("options", [{}, {"mixup": 0.2, "label_smoothing": 0.1, "l1": 1e-5}], ids=["plain", "held"])
def test_every_optimizer_learns_with_every_regulariser(optimizer, options):
    _, trainer = fit(optimizer, epochs=12, **options)
    assert float(trainer.callback_metrics["val_accuracy"]) > 0.6


def test_the_moving_average_is_what_the_run_ends_with():
    class Steps(EMAWeightAveraging):
        def __init__(self):
            super().__init__(decay=0.8, update_starting_at_step=0)
            self.seen = []

        def on_train_batch_end(self, trainer, pl_module, *rest):
            super().on_train_batch_end(trainer, pl_module, *rest)
            self.seen.append(pl_module.model.layers[-1].bias.detach().clone())

    average = Steps()
    task, _ = fit(partial(torch.optim.SGD, lr=0.2), epochs=2, callbacks=[average])
    by_hand = average.seen[0]
    for value in average.seen[1:]:
        by_hand = 0.8 * by_hand + 0.2 * value
    torch.testing.assert_close(task.model.layers[-1].bias.detach(), by_hand)
    assert not torch.equal(average.seen[-1], by_hand)


def test_mixup_is_the_loss_of_both_targets_on_the_mixed_input():
    class Linear(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.eye(3))

        def forward(self, inputs):
            self.seen = inputs
            return inputs @ self.weight

    model = Linear()
    task = Classification(model=model, optimizer=torch.optim.Adam, classes=3, mixup=1.0)
    inputs, targets = torch.eye(3).repeat(4, 1), torch.arange(3).repeat(4)
    torch.manual_seed(0)
    loss = task.training_step((inputs, targets), 0)
    mixed = model.seen
    torch.testing.assert_close(mixed.sum(1), torch.ones(12))
    assert bool(((mixed > 0).sum(1) == 2).any())
    # One-hot inputs: the mixed input is the mixed target.
    torch.testing.assert_close(loss, -(mixed * mixed.log_softmax(1)).sum(1).mean())


def test_one_example_alone_is_mixed_with_nothing():
    torch.manual_seed(0)
    plain, mixed = (
        Classification(model=nn.Linear(3, 3, bias=False), optimizer=torch.optim.Adam, classes=3, mixup=mixup)
        for mixup in (0.0, 0.4)
    )
    mixed.load_state_dict(plain.state_dict())
    batch = torch.rand(1, 3), torch.tensor([1])
    torch.testing.assert_close(plain.training_step(batch, 0), mixed.training_step(batch, 0))


def test_mixup_out_of_range_is_refused():
    with pytest.raises(Refused, match=r"task\.mixup"):
        Classification(model=nn.Linear(3, 3), optimizer=torch.optim.Adam, classes=3, mixup=-1.0)
