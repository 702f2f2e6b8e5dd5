"""What several runs took and were predicted, in one table."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from steelyard.measurement import Measurement, Status, Table
from steelyard.scorecard import Scorecard, Section
from steelyard_compute import Cost, Quantize


def run(words: str, *rows: Measurement) -> Any:
    section = Section(key="compute.cost", status=Status.MEASURED, measurements=rows, artefacts=())
    card = Scorecard(title="", spec="", seed=0, sections=(section,), overrides=("experiment=x", words))
    return SimpleNamespace(scorecard=card, folder=Path(words))


def row(name: str, value: float, **at: str) -> Measurement:
    return Measurement(name=name, value=value, at=at)


def predicted(words: str, factor: float) -> Any:
    return run(
        words,
        row("task.accuracy", 0.5 * factor),
        row("compute.cost.predicted_memory", 90 * factor),
        row("compute.cost.peak_memory", 100 * factor),
        row("compute.cost.predicted_seconds", 11.0),
        row("compute.cost.train_seconds", 10.0),
        Measurement(name="compute.cost.energy", status=Status.SKIPPED, note="no meter"),
    )


def test_each_run_stands_with_what_it_was_predicted_and_took() -> None:
    tables = [*Cost().compare([predicted("compute=cost", 1.0), predicted("compute=[cost,lora]", 0.5)])]
    (table,) = (item for item in tables if isinstance(item, Table))
    whole, lora = (dict(zip(table.columns, cells, strict=True)) for cells in table.rows)
    assert (whole["run"], lora["run"]) == ("compute=cost", "compute=[cost,lora]")
    assert (whole["task.accuracy"], lora["task.accuracy"]) == (0.5, 0.25)
    assert (lora["memory predicted [MiB]"], lora["memory actual [MiB]"], lora["memory off by"]) == (45, 50, "-10%")
    assert whole["time off by"] == "+10%"
    # What nobody measured is no zero.
    assert whole["energy actual [J]"] is None
    assert whole["energy off by"] == ""


def test_one_run_and_runs_without_predictions_have_no_table() -> None:
    assert [*Cost().compare([predicted("compute=cost", 1.0)])] == []
    plain = [run(words, row("compute.cost.peak_memory", 1.0)) for words in ("seed=0", "seed=1")]
    assert [*Cost().compare(plain)] == []


def test_every_format_of_the_finished_model_has_a_row() -> None:
    rounded = run(
        "compute=[cost,quantize]",
        row("compute.quantize.size", 22.0, format="int8"),
        row("compute.quantize.marks_lost", 0.005, format="int8"),
        Measurement(
            name="compute.quantize.size", status=Status.SKIPPED, note="no kernels", at={"format": "int8_dynamic"}
        ),
    )
    (table,) = Quantize().compare([run("compute=cost"), rounded])
    assert isinstance(table, Table)
    assert [*table.rows] == [
        ["compute=[cost,quantize]", "int8", 22.0, 0.005, None, None, None],
        ["compute=[cost,quantize]", "int8_dynamic", "no kernels", None, None, None, None],
    ]
    assert [*Quantize().compare([run("compute=cost")])] == []
