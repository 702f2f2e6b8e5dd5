"""Budgets of energy, memory and money, on one rank and on several, and what is refused before anything is spent."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from helpers import tiny
from small_runs import TABLE
from steelyard.estimating.estimate import ONCE, Estimate, Forecast
from steelyard.measurement import Measurement, Status
from steelyard.preflight import preflight
from steelyard.problem import Refused
from steelyard.selection import Selected
from steelyard_compute import Budget
from steelyard_compute._budget import BudgetAttachment
from steelyard_compute._energy import Energy
from steelyard_compute._foreseen import rounded_up

MIB = 1024**2


class Meter:
    """A kilowatt-hour at each look."""

    def __init__(self, **_: Any) -> None:
        self._looks = 0

    def read(self) -> Energy:
        self._looks += 1
        return Energy(joules=3.6e6 * self._looks, measured=False, how="estimated by the test")

    def end(self) -> Energy:
        return self.read()


def metered(*_: Any, **__: Any) -> Meter:
    return Meter()


def unmetered(*_: Any, **__: Any) -> None:
    return None


def on_its_own(decision: bool, all: bool) -> bool:
    del all
    return decision


def with_another(own: torch.Tensor) -> torch.Tensor:
    """The second rank is three times as slow as this one, and does as much."""
    return torch.stack([own, own * torch.tensor([3.0, 1.0, 1.0, 1.0], dtype=torch.float64)])


class Walk:
    """The calls of a Trainer to a budget, by hand: batches of 32 of one shape."""

    def __init__(self, budget: Budget, monkeypatch: pytest.MonkeyPatch, *, ranks: int = 1, accumulate: int = 1) -> None:
        from steelyard_compute import _spending

        monkeypatch.setattr(_spending, "meter_of", metered)
        clock = iter(range(0, 100_000, 1800))
        monkeypatch.setattr(_spending, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
        self.attachment = BudgetAttachment(budget, TABLE)
        strategy = SimpleNamespace(reduce_boolean_decision=on_its_own)
        self.trainer: Any = SimpleNamespace(
            strategy=strategy,
            world_size=ranks,
            global_step=0,
            should_stop=False,
            sanity_checking=False,
            accumulate_grad_batches=accumulate,
            train_dataloader=SimpleNamespace(batch_size=32),
        )
        module = torch.nn.Linear(4, 2)
        self.module: Any = SimpleNamespace(device=torch.device("cpu"), modules=module.modules, all_gather=with_another)
        self.batch = (torch.zeros(32, 4), torch.zeros(32, dtype=torch.long))

    def go(self, most: int = 20) -> int:
        """Batches until the budget ends the training."""
        self.attachment.on_train_start(self.trainer, self.module)
        done = 0
        while done < most and not self.trainer.should_stop:
            self.attachment.on_train_batch_start(self.trainer, self.module, self.batch, done)
            self.trainer.global_step += (done + 1) % self.trainer.accumulate_grad_batches == 0
            self.attachment.on_train_batch_end(self.trainer, self.module, None, self.batch, done)
            done += 1
        return done

    def told(self) -> dict[str, Measurement]:
        run: Any = SimpleNamespace(trained=True)
        rows = self.attachment.measure(run)
        return {row.name: row for row in rows if isinstance(row, Measurement)}


@pytest.mark.parametrize(
    ("budget", "batches", "spent"),
    [
        (Budget(kwh=4.5), 4, 4.0),
        (Budget(kwh=5), 5, 5.0),
        # A step is a kilowatt-hour and half an hour.
        (Budget(euros=1.7, euros_per_kwh=0.3), 5, 1.5),
        (Budget(euros=1.7, euros_per_hour=1.0), 3, 1.5),
        (Budget(euros=1.7, euros_per_kwh=0.3, euros_per_hour=1.0), 2, 1.6),
    ],
)
def test_energy_and_money_end_the_training_before_they_run_out(
    monkeypatch: pytest.MonkeyPatch, budget: Budget, batches: int, spent: float
) -> None:
    walk = Walk(budget, monkeypatch)
    assert walk.go() == batches
    (row,) = walk.told().values()
    assert row.value == pytest.approx(spent)
    if budget.euros_per_kwh or budget.kwh:
        assert row.status is Status.ESTIMATED
        assert "estimated by the test" in row.note


@pytest.mark.parametrize(
    ("budget", "batches"),
    [(Budget(kwh=5), 2), (Budget(examples=200), 3), (Budget(euros=5, euros_per_hour=1.0), 3), (Budget(steps=4), 4)],
)
def test_ranks_spend_together_and_the_slowest_says_the_time(
    monkeypatch: pytest.MonkeyPatch, budget: Budget, batches: int
) -> None:
    assert Walk(budget, monkeypatch, ranks=2).go() == batches


def test_no_half_of_an_accumulated_step_is_paid_for(monkeypatch: pytest.MonkeyPatch) -> None:
    walk = Walk(Budget(examples=32 * 8), monkeypatch, accumulate=3)
    assert walk.go() == 6
    assert walk.told()["examples"].value == 32 * 6


def test_what_is_spent_stays_spent_after_a_resume(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Walk(Budget(kwh=5), monkeypatch)
    before.go(most=3)
    after = Walk(Budget(kwh=5), monkeypatch)
    after.attachment.load_state_dict(before.attachment.state_dict())
    assert after.go() == 2


def test_memory_that_passes_the_limit_ends_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    from steelyard_compute import _budget

    marks = iter([100, 200, 300, 400])

    def high_water(*_: Any) -> Any:
        return SimpleNamespace(read=lambda: SimpleNamespace(mib=next(marks)))

    monkeypatch.setattr(_budget, "HighWater", high_water)
    walk = Walk(Budget(gb=250 * MIB / 1e9), monkeypatch)
    assert walk.go() == 3
    assert walk.told()["gb"].value == pytest.approx(300 * MIB / 1e9)


def test_energy_without_any_known_power_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from steelyard_compute import _spending

    walk = Walk(Budget(kwh=1), monkeypatch)
    monkeypatch.setattr(_spending, "meter_of", unmetered)
    with pytest.raises(Refused, match="device_watts does not say its power") as caught:
        walk.go()
    assert caught.value.problems[0].fix == "compute.budget.device_watts=300"


@pytest.mark.parametrize(
    ("budget", "words", "fix"),
    [
        # 100 MB stay, 200 MB are 4 examples; half of what is left over a quarter for the allocator.
        (Budget(gb=0.25), "needs about 0.38 GB at a batch of 4 examples", "data.batch_size=2"),
        (Budget(gb=0.1), "the budget is 0.1", "compute.budget.gb=0.38"),
        (Budget(flops=1234), r"one step needs 123456 FLOP, the budget is 1234", "compute.budget.flops=130000"),
        (Budget(euros=3), "nothing has a price", "compute.budget.euros_per_kwh=0.3"),
    ],
)
def test_what_cannot_fit_is_refused_before_anything_is_spent(budget: Budget, words: str, fix: str) -> None:
    memory = {"weights": 100_000_000, "activations": 200_000_000}
    estimate = Estimate(flops=123456, modules={}, memory=memory, parameters=1, trainable=1, examples=4)
    estimate = replace(estimate, held=375_000_000 - ONCE)
    draft = tiny.draft()
    draft.forecast = lambda: Forecast(estimate=estimate, steps=3)
    with pytest.raises(Refused, match=words) as caught:
        preflight([Selected("compute.budget", budget)], draft)
    assert caught.value.problems[0].fix == fix


def test_what_cannot_be_foreseen_is_noted() -> None:
    draft = tiny.draft()
    draft.forecast = lambda: Forecast(estimate=None, steps=3, notes=("no estimate: it asks for numbers",))
    (note,) = preflight([Selected("compute.budget", Budget(gb=1))], draft)
    assert "it asks for numbers" in note.message


@pytest.mark.parametrize("value", [114000.0, 0.00123, 99.9, 1.0, 1e12])
def test_what_is_offered_is_enough_and_not_much_more(value: float) -> None:
    assert value * (1 - 1e-12) <= rounded_up(value) <= 1.1 * value


def test_a_meter_that_is_slow_to_read_is_read_once_a_second_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    from steelyard_compute import _energy

    seconds = iter([0.0, 0.1, 0.2, 0.6, 1.2, 1.3])
    monkeypatch.setattr(_energy, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    meter = _energy.Seldom(Meter(), every=1.0)
    assert [meter.read().joules / 3.6e6 for _ in range(5)] == [1, 1, 1, 2, 2]
    assert meter.end().joules == 3 * 3.6e6


def test_what_the_meter_says_after_the_last_step_is_spent_too(monkeypatch: pytest.MonkeyPatch) -> None:
    walk = Walk(Budget(kwh=5, euros=9, euros_per_kwh=0.1, meter="codecarbon"), monkeypatch)
    walk.go(most=3)
    told = walk.told()
    assert told["kwh"].value == pytest.approx(0)
    walk.attachment.on_train_end(walk.trainer, walk.module)
    told = walk.told()
    assert told["kwh"].value == pytest.approx(1)
    assert told["euros"].value == pytest.approx(0.1)


def test_codecarbon_that_is_missing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from steelyard_compute import _energy

    monkeypatch.setattr(_energy, "find_spec", lambda _: None)
    with pytest.raises(Refused, match=r"pip install 'steelyard\[energy\]'") as caught:
        preflight([Selected("compute.budget", Budget(kwh=1, meter="codecarbon"))], tiny.draft())
    assert caught.value.problems[0].fix == "compute.budget.meter=own"
