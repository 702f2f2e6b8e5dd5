from dataclasses import replace
from typing import Any

import pytest

from small_runs import IMAGES, Points, bits, digits, digits_task, flags, frozen, same_bits, streams, train
from steelyard.measurement import Measurement
from steelyard.measuring import looking
from steelyard.runs import Run
from steelyard_stability import Outliers
from steelyard_stability._outliers import OutliersAttachment


@pytest.fixture(scope="module")
def run() -> Run:
    data = digits()
    return frozen(train(digits_task, data, epochs=5), data)


def told(run: Run, **options: Any) -> dict[tuple[object, ...], Measurement]:
    with looking(run.task):
        rows = list(OutliersAttachment(Outliers(**options)).measure(run))
    return {(*row.at.values(),): row for row in rows if isinstance(row, Measurement)}


def test_every_score_stands_against_every_sort(run: Run) -> None:
    rows = told(run, against=("fog",))

    scores, sorts = ("max_softmax", "energy", "mahalanobis", "nearest"), ("far_noise", "shuffled", "fog")
    assert set(rows) == {(score, sort) for score in scores for sort in sorts}
    assert all(row.interval and row.interval[0] <= (row.value or 0) <= row.interval[1] for row in rows.values())


def test_far_inputs_are_noticed(run: Run) -> None:
    rows = told(run)

    assert (rows["nearest", "far_noise"].value or 0) > 0.8
    assert (rows["mahalanobis", "far_noise"].value or 0) > 0.8


def test_the_size_of_the_batches_changes_nothing(run: Run) -> None:
    batch = run.batch("test", range(60))
    one, other = (told(replace(run, data=Points(batch[0], batch[1], batch_size=size))) for size in (7, 60))

    assert {key: row.value for key, row in one.items()} == pytest.approx({key: row.value for key, row in other.items()})


def test_measuring_leaves_no_trace(run: Run) -> None:
    before, state, random_streams = bits(run.task), flags(run.task), streams()

    told(run)

    assert streams() == random_streams
    assert same_bits(bits(run.task), before)
    assert flags(run.task) == state


class Modal:
    adapter = IMAGES


def test_an_unknown_kind_is_a_problem() -> None:
    problems = list(Outliers(against=("fogg",)).preflight(Modal()))  # type: ignore[arg-type]

    assert [problem.fix for problem in problems] == ["stability.outliers.against=[gaussian_noise]"]
