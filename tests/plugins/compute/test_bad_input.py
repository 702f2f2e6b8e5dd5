"""What cannot be told or kept is said in words, and is never a silent 0."""

import time
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, library, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from helpers import tiny
from small_runs import TABLE
from steelyard import planning
from steelyard.data import Digits
from steelyard.measurement import Measurement, Status
from steelyard.problem import Refused
from steelyard.selection import Selected
from steelyard_compute import Budget, Cost
from steelyard_compute._budget import BudgetAttachment


def chosen(**plugins: Any) -> list[Selected]:
    return [Selected(f"compute.{name}", plugin) for name, plugin in plugins.items()]


def test_a_clock_that_is_set_back_and_forth_changes_no_figure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Somebody sets the clock of the machine by a day, again and again."""
    now, days = time.time(), cycle([0.0, 86400.0, -86400.0])
    monkeypatch.setattr(time, "time", lambda: now + next(days))
    begun = time.perf_counter()
    card = tiny.run(monkeypatch, tmp_path, *chosen(cost=Cost(), budget=Budget(seconds=3600)))
    took = time.perf_counter() - begun
    for name in ("cost.train_seconds", "cost.step_seconds", "budget.seconds"):
        value = card[f"compute.{name}"].value
        assert value is not None
        assert 0 < value < took
    assert card["compute.budget.seconds"].note.startswith("of 3600; the training ended by itself")


@pytest.mark.parametrize("limit", [96, 200])
def test_a_batch_larger_than_the_data_is_as_large_as_the_data(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, limit: int
) -> None:
    budget = chosen(budget=Budget(examples=limit))
    card = tiny.run(monkeypatch, tmp_path, *budget, data={"batch_size": 1000})
    assert card["compute.budget.examples"].value == 96 * (limit // 96)


def test_a_budget_below_all_of_the_data_names_what_one_step_takes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(Refused, match="one batch has 96 examples, the budget is 95"):
        tiny.run(monkeypatch, tmp_path, *chosen(budget=Budget(examples=95)), data={"batch_size": 1000})


def test_a_plan_of_a_batch_larger_than_the_data_counts_the_data() -> None:
    forecast = planning.foreseen(tiny.config(data={"batch_size": 1000}))
    assert forecast.estimate is not None
    assert (forecast.estimate.examples, forecast.steps) == (96, 2)


def test_a_plan_says_that_a_batch_is_larger_than_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "plugins_of", lambda _: ())
    noted = [
        planning.plan(tiny.config(data={"batch_size": rows}), choices=tiny.CHOICES, overrides=[]).notes
        for rows in (96, 1000)
    ]
    assert noted[0] == ()
    words = "a batch may have 1,000 examples, and there are 96 to train on: each step takes all of them"
    assert noted[1] == (f"{words} (data.batch_size=96)",)


def test_data_that_give_no_batch_are_refused_and_train_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    few = TensorDataset(torch.zeros(40, 1, 8, 8), torch.zeros(40, dtype=torch.long))
    # Lightning would weigh the model as it was made, and warn.
    loader: Any = DataLoader(few, batch_size=64, drop_last=True)
    monkeypatch.setattr(Digits, "train_dataloader", lambda _: loader)
    with (
        pytest.warns(UserWarning, match="is zero"),
        pytest.raises(
            Refused, match="nothing can be trained: a batch may have 64 examples, and there are 40"
        ) as caught,
    ):
        tiny.run(monkeypatch, tmp_path, *chosen(cost=Cost()))
    assert [problem.fix for problem in caught.value.problems] == ["data.batch_size=40"]
    assert not [*tmp_path.iterdir()]


@library.custom_op("steelyard_tests::unheard_of", mutates_args=())
def unheard_of(inputs: Tensor) -> Tensor:
    return inputs.cumsum(0).roll(1)


class Walked(nn.Module):
    """A step whose only work is an operator that nobody has a formula for."""

    def forward(self, inputs: Tensor) -> Tensor:
        return unheard_of(inputs)


def test_an_operator_without_a_formula_makes_the_budget_of_operations_a_lower_bound() -> None:
    attachment = BudgetAttachment(Budget(flops=1e6), TABLE)
    model, batch = Walked(), (torch.ones(4, 3), torch.zeros(4, dtype=torch.long))
    module: Any = SimpleNamespace(device=torch.device("cpu"), modules=model.modules)
    trainer: Any = SimpleNamespace(
        world_size=1, global_step=0, accumulate_grad_batches=1, train_dataloader=None, should_stop=False
    )
    attachment.on_train_start(trainer, module)
    attachment.on_train_batch_start(trainer, module, batch, 0)
    model(batch[0])
    trainer.global_step = 1
    attachment.on_train_batch_end(trainer, module, None, batch, 0)
    run: Any = SimpleNamespace(trained=True)
    (row,) = (row for row in attachment.measure(run) if isinstance(row, Measurement))
    assert row.status is Status.MEASURED
    assert "a lower bound, not counted: unheard_of" in row.note


def test_every_figure_of_operations_without_a_formula_is_called_a_lower_bound(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    known = functional.relu
    monkeypatch.setattr(functional, "relu", lambda inputs, *_, **__: known(inputs) + unheard_of(inputs.detach()))
    card = tiny.run(monkeypatch, tmp_path, *chosen(cost=Cost(), budget=Budget(flops=1e12)))
    figures = ("cost.flops_per_step", "cost.flops_per_example", "cost.train_flops", "cost.mfu", "budget.flops")
    for name in (*figures, "cost.forward_flops_per_example"):
        assert "; a lower bound, not counted: unheard_of" in card[f"compute.{name}"].note, name


def test_operations_of_a_longer_batch_that_is_still_to_come_are_kept_in_reserve() -> None:
    """Accumulated pairs of texts: 2 FLOP a token of each of 8 features, and the longest pair comes last."""
    lengths = [1, 1, 2, 2, 3, 3, 40, 40]
    costs = [2 * 8 * 3 * length for length in lengths]
    limit = sum(costs[:4]) + costs[-2] + costs[-1] + 1

    def spent(most: int) -> float:
        attachment = BudgetAttachment(Budget(flops=limit), TABLE, most=most)
        linear = nn.Linear(8, 3)
        module: Any = SimpleNamespace(device=torch.device("cpu"), modules=linear.modules)
        trainer: Any = SimpleNamespace(
            world_size=1, global_step=0, accumulate_grad_batches=2, train_dataloader=None, should_stop=False
        )
        attachment.on_train_start(trainer, module)
        for number, length in enumerate(lengths):
            if trainer.should_stop:
                break
            batch = (torch.ones(length, 8), torch.zeros(length, dtype=torch.long))
            attachment.on_train_batch_start(trainer, module, batch, number)
            with torch.no_grad():
                linear(batch[0])
            trainer.global_step += number % 2
            attachment.on_train_batch_end(trainer, module, None, batch, number)
        run: Any = SimpleNamespace(trained=True)
        (row,) = (row for row in attachment.measure(run) if isinstance(row, Measurement))
        assert row.value is not None
        return row.value

    assert spent(0) > limit
    assert spent(costs[-2] + costs[-1]) == sum(costs[:6]) <= limit
