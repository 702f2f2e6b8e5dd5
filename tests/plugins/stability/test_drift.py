from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from small_runs import TABLE, Points, frozen, table_task
from steelyard.adapters import TableAdapter, TokenScoring
from steelyard.measurement import Measurement, Status
from steelyard.measuring import looking
from steelyard_stability import Drift
from steelyard_stability._drift import DriftAttachment
from steelyard_stability._two_samples import directions, gap

STREAM = np.random.default_rng(0)


def test_the_gap_is_that_of_scipy_also_with_ties() -> None:
    for digits in (0, 1, 9):
        one, other = (STREAM.normal(size=(count, 3)).round(digits) for count in (40, 55))
        wanted = [stats.ks_2samp(one[:, place], other[:, place]).statistic for place in range(3)]
        found = gap(one, other, permutations=19, seed=0)

        assert found.value == pytest.approx(max(wanted))
        assert found.column == int(np.argmax(wanted))


def test_the_p_value_is_that_of_the_exact_test() -> None:
    one, other = STREAM.normal(size=(12, 1)), STREAM.normal(size=(9, 1)) + 0.8

    found = gap(one, other, permutations=4000, seed=1)

    wanted = stats.ks_2samp(one[:, 0], other[:, 0], method="exact").pvalue
    assert found.chance == pytest.approx(wanted, abs=0.03)


def test_where_nothing_differs_an_alarm_is_as_rare_as_was_said() -> None:
    chances = []
    for seed in range(200):
        stream = np.random.default_rng([7, seed])
        shared = stream.normal(size=(100, 1))
        rows = stream.normal(size=(100, 5)) + 2 * shared
        chances.append(gap(rows[:50], rows[50:], permutations=39, seed=seed).chance)

    # 200 draws of 0.05 stay below this in 999 of 1000 cases.
    assert np.mean(np.array(chances) <= 0.05) <= stats.binom.ppf(0.999, 200, 0.05) / 200


def test_the_interval_holds_the_truth() -> None:
    truth = 2 * stats.norm.cdf(0.25) - 1
    for seed in range(50):
        stream = np.random.default_rng([8, seed])
        found = gap(stream.normal(size=(200, 1)), stream.normal(size=(150, 1)) + 0.5, permutations=1, seed=0)
        assert found.interval[0] <= truth <= found.interval[1]


@pytest.mark.parametrize("count", [100_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_a_tiny_effect_in_many_rows_is_no_chance_and_yet_too_small(count: int) -> None:
    one, other = STREAM.normal(size=(count // 2, 1)), STREAM.normal(size=(count // 2, 1)) + 0.05

    found = gap(one, other, permutations=39, seed=0)

    assert found.chance <= 0.025
    assert found.interval[1] < 0.1


def test_few_features_are_looked_at_as_they_are() -> None:
    assert (directions(np.zeros((2, 3)), count=5, seed=0) == np.eye(3)).all()
    many = directions(np.zeros((2, 300)), count=5, seed=0)
    np.testing.assert_allclose(np.linalg.norm(many, axis=0), 1)


class Splits(Points):
    """Rows of a table, whose test split may lie elsewhere."""

    def __init__(self, *, moved: float) -> None:
        generator = torch.Generator().manual_seed(0)
        rows = torch.randn(200, 4, generator=generator)
        super().__init__(rows, torch.zeros(200, dtype=torch.long))
        self._other = Points(torch.randn(200, 4, generator=generator) + moved, torch.zeros(200, dtype=torch.long))

    def test_dataloader(self) -> Any:
        return self._other.val_dataloader()


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 2))


def told(moved: float, made: nn.Module | None = None, adapter: TableAdapter = TABLE) -> dict[str, Measurement]:
    run = frozen(table_task(made or model()), Splits(moved=moved), adapter=adapter)
    with looking(run.task):
        rows = [row for row in DriftAttachment(Drift()).measure(run) if isinstance(row, Measurement)]
    return {str(row.at.get("view", row.name)): row for row in rows}


def test_a_split_from_the_same_world_is_no_alarm() -> None:
    rows = told(0.0)

    assert rows["alarms"].value == 0
    assert rows["features"].interval is not None
    assert rows["features"].interval[0] <= rows["features"].value <= rows["features"].interval[1]  # type: ignore[operator]


def test_a_split_that_has_moved_is_an_alarm() -> None:
    rows = told(1.5)

    assert rows["alarms"].value == 2
    assert rows["alarms"].note.startswith("answers, features; an alarm takes p of at most 0.025")
    assert "p = 0.005 by 199 permutations" in rows["features"].note


def test_a_model_to_which_noise_looks_familiar_notices_nothing() -> None:
    class Deaf(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, given: torch.Tensor) -> torch.Tensor:
            return self.weight + 0 * given[:, :2]

    rows = told(1.5, Deaf())

    assert {row.status for row in rows.values()} == {Status.INVALID}
    assert rows["alarms"].note.startswith("control failed: noise")


def test_a_task_without_classes_is_skipped_with_a_reason() -> None:
    rows = told(0.0, adapter=replace(TABLE, scoring=TokenScoring()))

    assert {row.status for row in rows.values()} == {Status.SKIPPED}


def test_too_few_permutations_are_a_problem() -> None:
    problems = list(Drift(permutations=19, alpha=0.01).preflight(None))  # type: ignore[arg-type]

    assert [problem.fix for problem in problems] == ["stability.drift.permutations=199"]
