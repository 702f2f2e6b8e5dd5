"""Every way to train: accumulated, clipped, by hand, with several optimizers; and what is refused."""

import math
from functools import partial
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule
from torch import Tensor, nn

from guarded import PLENTY, Watch, book, data, faults, guarded, model, task, train
from helpers.poison import Poison
from small_runs import bits, same_bits, table_task
from steelyard.problem import Refused
from steelyard.tasks import Classification
from steelyard_stability._faults import Again


class Rival(LightningModule):
    """Two optimizers by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.one, self.two = nn.Linear(6, 2), nn.Linear(6, 2)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        for part, optimizer in zip((self.one, self.two), self.optimizers(), strict=True):
            # Only the second one works with the inputs as they are.
            inputs = batch[0] if part is self.two else batch[0].nan_to_num()
            optimizer.zero_grad()
            self.manual_backward(nn.functional.cross_entropy(part(inputs), batch[1]))
            optimizer.step()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        pass

    def configure_optimizers(self) -> Any:
        return [torch.optim.Adam(part.parameters(), lr=0.01) for part in (self.one, self.two)]


WAYS = {
    "plain": (task, {}),
    "accumulated": (task, {"accumulate_grad_batches": 3}),
    "clipped": (task, {"gradient_clip_val": 0.5}),
    "two optimizers": (Rival, {}),
    "bf16": (task, {"precision": "bf16-mixed"}),
}


@pytest.mark.parametrize("way", WAYS)
def test_without_a_fault_training_is_the_same_to_the_bit(way: str) -> None:
    make, arguments = WAYS[way]
    plain = train(make, data(), epochs=2, **arguments)
    for policy in ("skip", "rewind"):
        guard = guarded(policy=policy, every=7)
        assert same_bits(bits(plain), bits(train(make, data(), callbacks=[guard], epochs=2, **arguments)))
        assert not book(guard).bad
        assert book(guard).steps > 10


@pytest.mark.parametrize("way", WAYS)
def test_no_way_of_training_lets_a_bad_batch_through(way: str) -> None:
    make, arguments = WAYS[way]
    guard = guarded(**PLENTY)
    trained = train(make, data(), callbacks=[Poison(steps=[4, 10]), guard], epochs=2, **arguments)
    assert book(guard).bad == 2
    assert all(bool(torch.isfinite(value).all()) for value in bits(trained).values())


def test_one_optimizer_goes_on_while_the_other_is_left_out() -> None:
    guard, steps = guarded(), []

    class Look(Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            self.before = bits(pl_module)

        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            if trainer.global_step == 10:
                now = bits(pl_module)
                steps.extend(name for name in now if not torch.equal(now[name], self.before[name]))

    train(Rival, data(), callbacks=[Poison(steps=[8]), guard, Look()])
    assert steps == ["one.weight", "one.bias"]


def test_a_bad_batch_among_several_of_a_step_leaves_out_the_step_and_spoils_no_buffer() -> None:
    guard, broken = guarded(), []

    class Look(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if not all(bool(torch.isfinite(value).all()) for value in pl_module.buffers()):
                broken.append(batch_idx)

    class Middle(Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx == 9:
                batch[0][3] = math.nan

    train(task, data(), callbacks=[Middle(), guard, Look()], accumulate_grad_batches=4)
    (fault,) = faults(guard)
    assert (fault.step, fault.batch, fault.again) == (2, 9, Again.REPRODUCIBLE)
    assert "rows 3" in fault.content
    assert not broken


class Bypass(Rival):
    """Steps an optimizer that Lightning does not know of."""

    def optimizers(self, use_pl_optimizer: bool = True) -> Any:
        return super().optimizers(use_pl_optimizer=False)


def test_what_cannot_be_guarded_is_refused() -> None:
    with pytest.raises(Refused, match="past Lightning"):
        train(Bypass, data(), callbacks=[guarded()])

    def line_search() -> Classification:
        return Classification(model=model(), optimizer=torch.optim.LBFGS, classes=2)

    with pytest.raises(Refused, match="LBFGS moves the weights"):
        train(line_search, data(), callbacks=[guarded()])


def test_a_second_look_of_an_optimizer_counts_once() -> None:
    from steelyard.optimisation import SAM

    def sharpness() -> Classification:
        optimizer = partial(SAM, base=partial(torch.optim.SGD, lr=0.1))
        return Classification(model=model(), optimizer=optimizer, classes=2)

    guard, watch = guarded(), Watch()
    train(sharpness, data(), callbacks=[Poison(steps=[4]), guard, watch])
    assert (book(guard).steps, book(guard).bad) == (20, 1)
    assert watch.changed == [step for step in range(20) if step != 4]


def test_infinite_masks_are_no_fault() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 2)
            self.register_buffer("mask", torch.full((3, 3), -math.inf).triu(1))

        def forward(self, given: Tensor) -> Tensor:
            return self.layer(given)

    guard = guarded()
    train(lambda: table_task(Masked()), data(), callbacks=[guard])
    assert not book(guard).bad


def test_a_buffer_that_a_task_replaces_is_put_back() -> None:
    class Mean(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 2)
            self.register_buffer("mean", torch.zeros(6))

        def forward(self, given: Tensor) -> Tensor:
            if self.training:
                self.mean = 0.9 * self.mean + 0.1 * given.detach().mean(0)
            return self.layer(given.nan_to_num())

    guard = guarded()
    trained = train(lambda: table_task(Mean()), data(), callbacks=[Poison(steps=[6]), guard])
    (fault,) = faults(guard)
    assert fault.kind == "buffer not finite"
    assert bool(torch.isfinite(trained.model.mean).all())
