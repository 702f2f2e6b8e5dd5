"""What was predicted of a training, beside what it took."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import tiny
from steelyard.estimating._shapes import Shape
from steelyard.estimating.estimate import ONCE, Estimate, Forecast
from steelyard.measurement import Measurement, Status, Table
from steelyard.selection import Selected
from steelyard_compute import Cost
from steelyard_compute._receipt import Receipt

MIB = 1024**2
CPU = torch.device("cpu")
ESTIMATE = Estimate(
    flops=1000,
    modules={},
    memory={"weights": 4 * MIB, "activations": 4 * MIB},
    parameters=1,
    trainable=1,
    examples=2,
    held=10 * MIB - ONCE,
)


SHAPE = Shape(rows=2, numbers=(2,))


class Clockwork:
    """What a receipt reads of a Trainer: twelve steps, four batches of validation."""

    accumulate_grad_batches = 1
    num_val_batches = (4,)
    max_epochs = 2
    check_val_every_n_epoch = 1
    num_training_batches = 6
    val_check_batch = 6


def told(receipt: Receipt, **actual: float) -> tuple[dict[str, Measurement], Table]:
    measured = {name: Measurement(name=name, value=value) for name, value in actual.items()}
    *rows, table = receipt.rows(measured, CPU)
    assert isinstance(table, Table)
    return {row.name: row for row in rows if isinstance(row, Measurement)}, table


def walked(steps: int, *, forecast: Forecast) -> Receipt:
    """A first step of 3 s and 30 J, then such of 0.5 s and 2 J."""
    receipt = Receipt(forecast)
    trainer: Any = Clockwork()
    for step in range(steps):
        if receipt.watching:
            receipt.add(trainer, SHAPE, seconds=3 + 0.5 * step, joules=30 + 2.0 * step)
    return receipt


def test_the_prediction_is_the_first_steps_gone_on() -> None:
    rows, table = told(
        walked(12, forecast=Forecast(estimate=ESTIMATE, steps=12)),
        peak_memory=8.0,
        train_flops=12_000,
        train_seconds=10.0,
        energy=50.0,
    )
    # Two validations of four batches, each a third of a step.
    assert rows["predicted_seconds"].value == pytest.approx(3 + 0.5 * (11 + 8 / 3))
    assert rows["predicted_energy"].value == pytest.approx(30 + 2 * (11 + 8 / 3))
    assert rows["predicted_memory"].value == pytest.approx(10)
    assert rows["predicted_flops"].value == 12_000
    assert all(row.status is Status.ESTIMATED for row in rows.values())
    assert [row[-1] for row in table.rows] == ["+25.0%", "+0.0%", "-1.7%", "+14.7%"]


@pytest.mark.parametrize(
    ("steps", "forecast", "skipped"),
    [
        (12, Forecast(estimate=None, steps=12, notes=("no estimate: why",)), ("predicted_memory", "predicted_flops")),
        (12, Forecast(estimate=ESTIMATE, steps=None), ("predicted_flops", "predicted_seconds", "predicted_energy")),
        (6, Forecast(estimate=ESTIMATE, steps=6), ("predicted_seconds", "predicted_energy")),
    ],
)
def test_what_cannot_be_predicted_says_why(steps: int, forecast: Forecast, skipped: tuple[str, ...]) -> None:
    rows, _ = told(walked(steps, forecast=forecast))
    assert {name for name, row in rows.items() if row.status is Status.SKIPPED} == set(skipped)
    assert all(rows[name].note for name in skipped)


def test_a_resumed_run_is_held_against_what_was_predicted_before() -> None:
    forecast = Forecast(estimate=ESTIMATE, steps=12)
    before = walked(8, forecast=forecast)
    after = Receipt(forecast)
    after.load(before.state())
    assert not after.watching
    assert told(after)[0] == told(before)[0]


def test_without_being_asked_nothing_is_predicted() -> None:
    receipt = Receipt(None)
    assert not receipt.watching
    assert list(receipt.rows({}, CPU)) == []


def test_a_run_sets_both_side_by_side(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    card = tiny.run(monkeypatch, tmp_path, Selected("compute.cost", Cost(predict=True)), trainer={"max_epochs": 4})
    rows = {row.name.rpartition(".")[2]: row for row in card.measurements() if row.name.startswith("compute.cost.")}
    assert rows["predicted_flops"].value == rows["train_flops"].value
    for name in ("predicted_memory", "predicted_seconds", "predicted_energy"):
        assert rows[name].status is Status.ESTIMATED
    assert (rows["predicted_seconds"].value or 0) > 0


def test_short_batches_at_the_start_are_not_taken_for_all() -> None:
    """Batches of 2 numbers cost 500 operations, the mean step 1000: the others take twice as long."""
    work = {SHAPE: 500.0, Shape(rows=2, numbers=(6,)): 1500.0}
    told_of = [
        walked(12, forecast=Forecast(estimate=one, steps=12)) for one in (ESTIMATE, replace(ESTIMATE, work=work))
    ]
    even, uneven = (told(receipt)[0]["predicted_seconds"].value for receipt in told_of)
    assert even is not None
    assert uneven is not None
    assert uneven - 3 == pytest.approx(2 * (even - 3))
