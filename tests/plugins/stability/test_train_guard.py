"""Faults survived: what reaches the weights, and what is said of it."""

import copy
import math
from functools import partial
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import EMAWeightAveraging
from torch import Tensor, nn

from guarded import EPOCHS, PLENTY, ROWS, Watch, accuracy, book, data, faults, guarded, task, train, unharmed
from helpers.poison import Hasten, Poison, Ruin
from small_runs import bits, same_bits
from steelyard.tasks import Classification
from steelyard_stability._faults import Again
from steelyard_stability._train_guard import TrainingStopped


@pytest.mark.parametrize(
    ("percent", "value"),
    [
        (10, math.nan),
        pytest.param(1, math.nan, marks=pytest.mark.slow),
        pytest.param(3, math.nan, marks=pytest.mark.slow),
        (1, math.inf),
        pytest.param(3, math.inf, marks=pytest.mark.slow),
        pytest.param(10, math.inf, marks=pytest.mark.slow),
    ],
)
def test_bad_batches_reach_nothing(percent: int, value: float) -> None:
    steps = [*range(3, EPOCHS * ROWS // 32, 100 // percent)]
    guard, watch = guarded(**PLENTY), Watch()
    trained = train(task, data(), callbacks=[Poison(steps=steps, value=value), guard, watch], epochs=EPOCHS)
    assert not watch.broken
    assert not {*steps} & {*watch.changed}
    assert len(watch.changed) == 100 - len(steps)
    assert [fault.step for fault in faults(guard)] == steps
    assert abs(accuracy(trained) - unharmed(task)) <= 0.01


def test_without_the_guard_one_bad_batch_ruins_everything() -> None:
    watch = Watch()
    trained = train(task, data(), callbacks=[Poison(steps=[3]), watch], epochs=1)
    assert watch.broken
    assert not all(bool(torch.isfinite(value).all()) for value in bits(trained).values())


def test_the_evidence_of_a_bad_batch() -> None:
    guard = guarded()
    train(task, data(), callbacks=[Poison(steps=[25]), guard], epochs=2)
    (fault,) = faults(guard)
    assert (fault.step, fault.epoch, fault.batch, fault.loss) == (25, 1, 5, "nan")
    assert fault.content == "6 of 192 values not finite (rows 0 of the batch)"
    assert fault.where == "model.0 (Linear)"
    assert fault.again == Again.REPRODUCIBLE
    assert 0 < (fault.usual_loss or 0) < 1
    assert fault.layers == "none of 6 is finite"
    assert fault.action == "left out"


def test_schedules_and_steps_go_on() -> None:
    rates: list[float] = []

    class Rates(Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    scheduled = partial(task, scheduler=partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.5), interval="step")

    train(scheduled, data(), callbacks=[Poison(steps=[1]), guarded(), Rates()], epochs=1)
    assert rates[:3] == [0.005, 0.0025, 0.00125]


def test_an_average_of_the_weights_stays_finite() -> None:
    average = EMAWeightAveraging(decay=0.9)
    trained = train(task, data(), callbacks=[Poison(steps=[5, 9]), guarded(), average], epochs=2)
    assert all(bool(torch.isfinite(value).all()) for value in bits(trained).values())


class Odd(nn.Module):
    """A function with a finite value and no gradient at 0, for batches that are marked by a 9.

    Args:
        kind: Which one.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, given: Tensor) -> Tensor:
        if not bool((given == 9).any()):
            return given
        nothing = given * 0
        # A root of 0 has an infinite slope; a logarithm is infinite itself, which ReLU hides from the loss.
        return given + (nothing.abs().sqrt() if self.kind == "root" else nothing.log())


class First(nn.Module):
    """Lets the marks through beside a linear layer's output."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 16)

    def forward(self, given: Tensor) -> Tensor:
        out = self.layer(given)
        return torch.where(given[:, :1] == 9, torch.full_like(out, 9.0) + 0 * out, out)


@pytest.mark.parametrize(
    ("kind", "what", "where"),
    [
        ("root", "gradient not finite", "model.1 (Odd), on the way back"),
        ("log", "gradient not finite", "model.1 (Odd)"),
    ],
)
def test_a_gradient_that_is_no_number_names_its_module(kind: str, what: str, where: str) -> None:
    guard, watch = guarded(), Watch()

    def odd() -> Classification:
        layers = nn.Sequential(First(), Odd(kind), nn.ReLU(), nn.Linear(16, 2))
        return Classification(model=layers, optimizer=partial(torch.optim.Adam, lr=0.01), classes=2)

    callbacks = [Poison(steps=[7, 30], value=9.0), guard, watch]
    trained = train(odd, data(), callbacks=callbacks, epochs=EPOCHS)
    assert not watch.broken
    assert [(fault.step, fault.kind, fault.where) for fault in faults(guard)] == [(7, what, where), (30, what, where)]
    assert all(fault.content == "" for fault in faults(guard))
    assert abs(accuracy(trained) - unharmed(odd)) <= 0.01


def test_a_loss_without_a_gradient_names_what_it_was_made_of() -> None:
    class Rooted(Classification):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            spoilt = self(batch[0]).mul(0).abs().sqrt().sum() if batch_idx == 4 else 0.0
            return super().training_step(batch, batch_idx) + spoilt

    guard = guarded()
    made = partial(Rooted, optimizer=partial(torch.optim.SGD, lr=0.1), classes=2)
    train(lambda: made(model=nn.Linear(6, 2)), data(), callbacks=[guard])
    (fault,) = faults(guard)
    assert fault.where == "what the loss makes of model (Linear)"


@pytest.mark.parametrize("policy", ["skip", "stop"])
def test_bad_batches_without_end_stop_the_training_within_six(policy: str) -> None:
    guard, watch = guarded(policy=policy), Watch()
    with pytest.raises(TrainingStopped, match="No checkpoint was written") as stopped:
        train(task, data(), callbacks=[Poison(since=10), guard, watch], epochs=1)
    assert book(guard).bad == (5 if policy == "skip" else 1)
    assert ("5 bad steps in a row" if policy == "skip" else "policy=stop") in str(stopped.value)
    assert watch.changed == [*range(10)]


def test_too_many_bad_steps_in_all_stop_the_training_and_say_what_allows_more() -> None:
    guard = guarded(share=0.1, least=2)
    message = r"3 of 21 steps were bad, and 2 are allowed \(stability.train_guard.share=0.3 allows more"
    with pytest.raises(TrainingStopped, match=message):
        train(task, data(), callbacks=[Poison(steps=range(0, 99, 10)), guard], epochs=EPOCHS)


def test_going_back_undoes_a_learning_rate_that_exploded() -> None:
    guard = guarded(policy="rewind", every=20)
    trained = train(task, data(), callbacks=[Hasten(step=50, times=1e4), guard], epochs=EPOCHS)
    assert book(guard).rewinds == 1
    assert any(fault.action.startswith("went back to step 40") for fault in faults(guard))
    assert abs(accuracy(trained) - unharmed(task)) <= 0.02


def test_going_back_restores_weights_buffers_optimizer_and_schedule_exactly() -> None:
    class Kept(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            (config,), (optimizer,) = trainer.lr_scheduler_configs, trainer.optimizers
            states = optimizer.state_dict(), config.scheduler.state_dict()
            kept[trainer.global_step] = copy.deepcopy((bits(pl_module), *states))

    scheduled = partial(task, scheduler=partial(torch.optim.lr_scheduler.StepLR, step_size=3), interval="step")

    kept: dict[int, Any] = {}
    guard = guarded(policy="rewind", every=10, in_a_row=2)
    train(scheduled, data(), callbacks=[Poison(steps=[14, 15]), guard, Kept()], epochs=1)
    weights, optimizer, schedule = kept[16]
    assert book(guard).rewinds == 1
    assert same_bits(weights, kept[10][0])
    assert schedule == kept[10][2]
    assert optimizer["param_groups"] == kept[10][1]["param_groups"]
    for number, state in optimizer["state"].items():
        assert same_bits(state, kept[10][1]["state"][number])
    assert not same_bits(weights, kept[14][0])


def test_weights_that_are_ruined_are_taken_back_at_once() -> None:
    guard = guarded(policy="rewind", every=10)
    trained = train(task, data(), callbacks=[Ruin(epoch=0), guard], epochs=2)
    assert [fault.step for fault in faults(guard)] == [20]
    assert faults(guard)[0].where == "model.0.weight"
    assert all(bool(torch.isfinite(value).all()) for value in bits(trained).values())
    with pytest.raises(TrainingStopped, match=r"model.0.weight is not finite, which leaving steps out cannot mend"):
        train(task, data(), callbacks=[Ruin(epoch=0), guarded()], epochs=2)


def test_going_back_has_an_end() -> None:
    guard = guarded(policy="rewind", every=10, in_a_row=2, rewinds=2, share=1.0)
    steps = [11, 12, 24, 25, 37, 38]
    with pytest.raises(TrainingStopped, match="2 bad steps in a row after going back 2 times"):
        train(task, data(), callbacks=[Poison(steps=steps), guard], epochs=EPOCHS)


def test_a_replay_tells_transient_faults_from_those_that_come_again() -> None:
    class Flip(Callback):
        """A fault of the machine: one activation of one pass."""

        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            if trainer.global_step in transient:
                handle = pl_module.model[0].register_forward_hook(lambda *got: spoil(got[2], handle))

    def spoil(output: Tensor, handle: Any) -> Tensor:
        handle.remove()
        return output * math.nan

    transient, persistent = {*range(2, 100, 8)}, {*range(5, 100, 8)}
    guard = guarded(**PLENTY)
    train(task, data(), callbacks=[Poison(steps=persistent), Flip(), guard], epochs=EPOCHS)
    wanted = {**dict.fromkeys(transient, Again.TRANSIENT), **dict.fromkeys(persistent, Again.REPRODUCIBLE)}
    assert {fault.step: fault.again for fault in faults(guard)} == wanted


def test_a_replay_leaves_no_trace() -> None:
    """Two trainings whose fifth batch is left out differ in the replay alone."""

    class Silent(Callback):
        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            if trainer.global_step == 5:
                for weight in pl_module.parameters():
                    weight.grad = None

    def plain() -> Classification:
        layers = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 2))
        return Classification(model=layers, optimizer=partial(torch.optim.Adam, lr=0.01), classes=2)

    one = train(plain, data(), callbacks=[Poison(steps=[5]), guarded()], epochs=2)
    other = train(plain, data(), callbacks=[Silent()], epochs=2)
    assert same_bits(bits(one), bits(other))


def test_a_new_level_is_taken_and_told(caplog: pytest.LogCaptureFixture) -> None:
    class Louder(Classification):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return super().training_step(batch, batch_idx) * (10 if self.current_epoch >= 2 else 1)

    guard = guarded()
    options: Any = {"optimizer": partial(torch.optim.SGD, lr=0.001), "classes": 2}
    train(lambda: Louder(model=nn.Linear(6, 2), **options), data(), callbacks=[guard], epochs=3)
    assert [fault.step for fault in faults(guard)] == [*range(40, 48)]
    assert all(fault.kind == "loss spike" for fault in faults(guard))
    assert book(guard).shifts == 1
    told = [row.getMessage() for row in caplog.records if "new level" in row.getMessage()]
    assert len(told) == 1
    assert "step 48" in told[0]
    assert "policy=rewind would go back" in told[0]
