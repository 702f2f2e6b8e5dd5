import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers import tiny
from helpers.plugins import Fake
from steelyard.measurement import Artefact, Measurement, Picture, Status, Table
from steelyard.runs import Run
from steelyard.selection import Selected
from steelyard.stored import StoredRun

PNG = b"\x89PNG\r\n\x1a\n"


def measured(monkeypatch: Any, tmp_path: Path, *measures: Any) -> Any:
    selected = [Selected(f"a.x{index}", Fake(on_measure=measure)) for index, measure in enumerate(measures)]
    return tiny.run(monkeypatch, tmp_path, *selected, trainer={"max_steps": 2})


def test_names_are_completed_and_artefacts_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def measure(_: Run) -> Iterator[Measurement | Artefact]:
        yield Measurement(name="epsilon", value=1.0)
        yield Picture(name="curve", title="A curve", png=PNG, alt="it falls", split="val")
        yield Table(name="rows", title="Rows", columns=["a", "b"], rows=[[1, "x,y"], [None, 2.5]])
        yield Table(name="kept", title="For programs", columns=["a"], rows=[[1]], shown=False)

    card = measured(monkeypatch, tmp_path, measure)
    (place,) = tmp_path.iterdir()
    section = card.sections[1]
    assert [row.name for row in section.measurements] == ["a.x0.epsilon"]
    picture, table, kept = section.artefacts
    assert (table.kind, kept.kind) == ("table", "rows")
    assert (place / kept.path).read_text() == "a\n1\n"
    assert (place / picture.path).read_bytes() == PNG
    assert (picture.kind, picture.path, picture.alt, picture.split) == ("picture", "a/x0/curve.png", "it falls", "val")
    assert (place / table.path).read_text() == 'a,b\n1,"x,y"\n,2.5\n'
    assert StoredRun(place).scorecard == card


def test_a_failure_stays_in_its_section_and_the_run_ends_with_3(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fails(_: Run) -> Iterator[Measurement | Artefact]:
        yield Measurement(name="first", value=1.0)
        raise ArithmeticError("two is odd")

    def works(_: Run) -> Iterator[Measurement | Artefact]:
        yield Measurement(name="second", value=2.0)

    card = measured(monkeypatch, tmp_path, fails, works)
    assert [section.status for section in card.sections] == [Status.MEASURED, Status.FAILED, Status.MEASURED]
    assert "two is odd" in card.sections[1].error
    assert card["a.x1.second"].value == 2.0
    assert card.exit_code == 3
    assert card.failed == ("a.x0",)


def test_the_same_point_twice_is_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def twice(_: Run) -> Iterator[Measurement | Artefact]:
        yield Measurement(name="x", value=1.0, at={"level": 1})
        yield Measurement(name="x", value=1.0, at={"level": 2})
        yield Measurement(name="x", value=1.0, at={"level": 1})

    card = measured(monkeypatch, tmp_path, twice)
    assert "gave x twice" in card.sections[1].error


def test_what_measures_nothing_but_skips_is_skipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def skips(_: Run) -> Iterator[Measurement | Artefact]:
        yield Measurement(name="x", status=Status.SKIPPED, note="no training")

    assert measured(monkeypatch, tmp_path, skips).sections[1].status is Status.SKIPPED


def test_measuring_happens_in_eval_mode_with_gradients_and_forked_streams(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    states: list[tuple[Any, ...]] = []

    def looks(run: Run) -> Iterator[Measurement | Artefact]:
        assert not run.task.training
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
        states.append((torch.rand(1).item(), np.random.rand(), random.random()))
        run.task.train()
        next(run.task.parameters()).requires_grad_(False)
        yield Measurement(name="x", value=1.0)

    def looks_again(run: Run) -> Iterator[Measurement | Artefact]:
        assert all(weight.requires_grad for weight in run.task.parameters())
        yield from looks(run)

    card = measured(monkeypatch, tmp_path, looks, looks_again)
    assert card.exit_code == 0, [section.error for section in card.sections]
    assert states[0] == states[1]


def test_changing_a_weight_while_measuring_is_caught(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def nudges(run: Run) -> Iterator[Measurement | Artefact]:
        with torch.no_grad():
            next(run.task.parameters()).add_(1e-3)
        yield Measurement(name="x", value=1.0)

    card = measured(monkeypatch, tmp_path, nudges)
    assert "measuring changed the weights" in card.sections[1].error


def test_what_is_left_half_way_cleans_up_under_protection(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[bool] = []

    def twice(run: Run) -> Iterator[Measurement | Artefact]:
        try:
            yield Measurement(name="x", value=1.0)
            yield Measurement(name="x", value=1.0)
        finally:
            seen.append(run.task.training)
            torch.rand(1)

    assert measured(monkeypatch, tmp_path, twice).failed == ("a.x0",)
    assert seen == [False]


def test_costs_are_measured_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: dict[str, float] = {}

    def costs(run: Run) -> Iterator[Measurement | Artefact]:
        seen.update({key: seconds.measure for key, seconds in run.seconds.items()})
        return iter(())

    def slow(_: Run) -> Iterator[Measurement | Artefact]:
        torch.randn(300, 300) @ torch.randn(300, 300)
        yield Measurement(name="x", value=1.0)

    class Last(Fake):
        def attach(self, draft: Any) -> Any:
            attachment = super().attach(draft)
            attachment.measures_last = True
            return attachment

    selected = [Selected("a.costs", Last(on_measure=costs)), Selected("b.slow", Fake(on_measure=slow))]
    card = tiny.run(monkeypatch, tmp_path, *selected, trainer={"max_steps": 2})
    assert seen["b.slow"] > 0
    assert [section.key for section in card.sections] == ["task", "a.costs", "b.slow"]
    assert card.sections[2].measure_seconds == seen["b.slow"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"value": None}, "needs a finite value"),
        ({"value": float("nan")}, "needs a finite value"),
        ({"value": 0.0, "status": Status.SKIPPED, "note": "why"}, "and no value"),
        ({"status": Status.FAILED}, "a note that says why"),
        ({"value": 1.0, "status": Status.INVALID}, "which control failed"),
        ({"value": 1.0, "interval": (2.0, 1.0)}, "not in order"),
    ],
)
def test_a_measurement_that_contradicts_itself_cannot_be_made(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Measurement(name="x", **fields)


def test_a_table_with_a_short_row_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="every row needs 2 cells"):
        Table(name="x", title="X", columns=["a", "b"], rows=[[1]])
