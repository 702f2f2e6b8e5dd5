"""Explanations of several runs held against each other, from their folders alone."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray
from scipy import stats
from torch import nn

from small_runs import TABLE as ROWS
from small_runs import digits, digits_task, frozen, parted, table_task
from steelyard.measurement import Measurement, Picture, Status, Table
from steelyard.scorecard import Scorecard, Section, StoredArtefact
from steelyard.stored import StoredRun
from steelyard_interpretability import Attribution
from steelyard_interpretability._alike import alike
from steelyard_interpretability._alike_picture import _laid, _shares
from steelyard_interpretability._attribution import AttributionAttachment
from steelyard_interpretability._kept_units import COLUMNS, KEY, LAYOUT, TABLE, read, word

EXAMPLES, PARTS = 12, 20
Floats = NDArray[np.float64]


def folder(place: Path, lines: Sequence[Sequence[Any]], *, seed: int, privacy: str, data: str = "abc") -> StoredRun:
    """A run folder as the core writes it, with these explanations."""
    file = place / "interpretability" / "attribution" / f"{TABLE}.csv"
    file.parent.mkdir(parents=True)
    file.write_text("\n".join(",".join(map(str, line)) for line in (COLUMNS, *lines)) + "\n")
    kept = StoredArtefact(kind="table", title=TABLE, path=str(file.relative_to(place)), split="val")
    section = Section(key=KEY, status=Status.MEASURED, settings={}, artefacts=(kept,))
    card = Scorecard(title=privacy, spec="s", seed=seed, sections=(section,), choices={"privacy": privacy})
    (place / "scorecard.json").write_text(json.dumps(card.to_json()))
    (place / "config.yaml").write_text(yaml.safe_dump({"seed": seed}))
    (place / "provenance.json").write_text(json.dumps({"data_fingerprint": data, "choices": {"privacy": privacy}}))
    return StoredRun(place)


def lines(worth: Floats, *, decisions: Sequence[int] | None = None) -> list[list[Any]]:
    told = decisions or [0] * len(worth)
    return [
        [7 * row, told[row], "saliency", part, float(value)]
        for row, values in enumerate(worth)
        for part, value in enumerate(values)
    ]


def worths(*, noise: float, seed: int) -> Floats:
    """What all runs have in common, and as much of their own as is asked for."""
    common = np.random.default_rng(0).normal(size=(EXAMPLES, PARTS))
    return common + noise * np.random.default_rng(seed).normal(size=common.shape)


def told(runs: Sequence[StoredRun]) -> dict[tuple[str, str], Measurement]:
    rows = [item for item in Attribution().compare(runs) if isinstance(item, Measurement)]
    return {(row.name, str(row.at.get("pair") or row.at.get("config"))): row for row in rows}


def sweep(place: Path, *, noise: float) -> list[StoredRun]:
    plain = [folder(place / f"a{s}", lines(worths(noise=0.3, seed=s)), seed=s, privacy="none") for s in (0, 1, 2)]
    private = [
        folder(place / f"b{s}", lines(worths(noise=noise, seed=s + 50)), seed=s, privacy="dp_sgd") for s in (0, 1, 2)
    ]
    return [*plain, *private]


def test_every_two_runs_agree_as_scipy_says(tmp_path: Path) -> None:
    tables = [worths(noise=1.0, seed=seed) for seed in (1, 2)]
    tables[0][0, 15:] = tables[1][0, 15:] = np.nan
    decisions = [0] * EXAMPLES
    other = [*decisions[:-1], 1]
    kept = [
        read(
            folder(
                tmp_path / str(at),
                [line for line in lines(part, decisions=said) if line[-1] == line[-1]],
                seed=at,
                privacy="none",
            )
        )
        for at, (part, said) in enumerate(zip(tables, (decisions, other), strict=True))
    ]
    assert kept[0] is not None
    assert kept[1] is not None
    found = alike([kept[0], kept[1]], "saliency")
    spearman: Any = stats.spearmanr
    expected = [
        spearman(one[: 15 if at == 0 else None], two[: 15 if at == 0 else None]).statistic
        for at, (one, two) in enumerate(zip(*tables, strict=True))
    ]
    np.testing.assert_allclose(found[0, 1, :-1], expected[:-1], rtol=0, atol=1e-9)
    # They do not explain the same decision there.
    assert np.isnan(found[0, 1, -1])
    np.testing.assert_allclose(found[0, 0], 1.0)


def test_a_config_that_differs_by_no_more_than_seeds_do_is_not_below_the_floor(tmp_path: Path) -> None:
    same, other = (told(sweep(tmp_path / name, noise=noise)) for name, noise in (("same", 0.3), ("other", 3.0)))
    pair = next(where for name, where in same if name == "below_floor")
    assert {name for name, _ in same} == {"seed_agreement", "agreement", "below_floor"}
    low, high = same["below_floor", pair].interval or (1, 1)
    assert low < 0.05
    assert high > -0.05
    assert abs(same["below_floor", pair].value or 1) < 0.05
    interval = other["below_floor", pair].interval
    assert interval is not None
    assert interval[0] > 0
    assert other["agreement", pair].count == EXAMPLES


def test_a_line_of_the_table_subtracts_also_where_decisions_differ(tmp_path: Path) -> None:
    # The private runs decide half of the examples otherwise; between seeds of the plain ones those agree less.
    wild = worths(noise=0.0, seed=0)
    plain = [wild + np.random.default_rng(s).normal(size=wild.shape) * ([[3.0]] * 6 + [[0.3]] * 6) for s in (1, 2)]
    runs = [folder(tmp_path / f"a{s}", lines(worth), seed=s, privacy="none") for s, worth in enumerate(plain)]
    said = [1] * 6 + [0] * 6
    runs += [
        folder(tmp_path / f"b{s}", lines(worths(noise=1.0, seed=s + 9), decisions=said), seed=s, privacy="dp_sgd")
        for s in (0, 1)
    ]
    (table,) = [item for item in Attribution().compare(runs) if isinstance(item, Table)]
    line = dict(zip(table.columns, table.rows[-1], strict=True))
    assert line["examples"] == 6
    between, floor, below = (line[name] for name in ("agreement", "agreement of seeds", "below it by"))
    assert isinstance(between, float)
    assert isinstance(floor, float)
    assert below == pytest.approx(floor - between, abs=0.0016)


def test_without_two_seeds_there_is_no_floor_and_it_says_so(tmp_path: Path) -> None:
    runs = [
        folder(tmp_path / name, lines(worths(noise=noise, seed=3)), seed=0, privacy=name)
        for name, noise in (("none", 0.3), ("dp_sgd", 1.0))
    ]
    rows = [*told(runs).values()]
    assert [row.status for row in rows] == [Status.MEASURED, Status.SKIPPED]
    assert "same seed" in rows[0].note
    assert "-m seed=0,1,2" in rows[1].note


def test_runs_on_other_examples_are_named_and_not_compared(tmp_path: Path) -> None:
    runs = [
        folder(tmp_path / data, lines(worths(noise=0.3, seed=1)), seed=at, privacy="none", data=data)
        for at, data in enumerate(("abc", "abd", "abc "))
    ]
    (apart,) = [item for item in Attribution().compare(runs) if isinstance(item, Table)]
    assert [row[0] for row in apart.rows] == ["abd", "abc "]


def test_what_a_run_keeps_is_what_it_found() -> None:
    model = nn.Linear(6, 2)
    weight = model.weight.detach()
    run = frozen(table_task(model), parted(), adapter=ROWS)
    items = [*AttributionAttachment(Attribution(samples=5, pictures=0)).measure(run)]
    (kept,) = [item for item in items if isinstance(item, Table) and item.name == TABLE]
    assert tuple(kept.columns) == COLUMNS
    assert len(kept.rows) == 5 * 6
    inputs = torch.cat([batch for batch, _ in run.loader("val")])
    for example, decision, _, part, worth in kept.rows:
        row = int(example or 0)
        expected = weight[int(decision or 0), int(part or 0)] * (inputs[row] - inputs.mean(dim=0))[int(part or 0)]
        assert worth == pytest.approx(float(expected), rel=1e-3, abs=1e-6)


def test_pixels_are_put_together_to_at_most_64_parts() -> None:
    items = [*AttributionAttachment(Attribution(samples=3, pictures=0)).measure(frozen(digits_task(), digits()))]
    (kept,) = [item for item in items if isinstance(item, Table) and item.name == TABLE]
    assert {line[3] for line in kept.rows} == {*range(64)}


def test_long_decisions_are_told_by_a_hash() -> None:
    assert word([3]) == "3"
    assert word([3, 4]) == "3-4"
    assert word([1, 2, 3, 4]) != word([1, 2, 3, 5])
    assert len(word([*range(900)])) < 20


def test_runs_and_methods_stand_side_by_side_on_one_scale(tmp_path: Path) -> None:
    runs = sweep(tmp_path, noise=1.0)
    (drawn,) = [item for item in Attribution().compare(runs) if isinstance(item, Picture)]
    assert drawn.png.startswith(b"\x89PNG")
    assert drawn.png == next(item.png for item in Attribution().compare(runs) if isinstance(item, Picture))
    assert drawn.alt.count("seed 1, saliency") == 2
    assert "6 runs" in drawn.title


def test_maps_are_shares_laid_out_as_the_parts_of_the_run_say(tmp_path: Path) -> None:
    values = np.array([1.0, -3.0, np.nan, 0.0])
    assert _shares(values).tolist()[:2] == [0.25, -0.75]
    assert _laid(values, (2, 2)).shape == (2, 2)
    assert _laid(values, (1, 2)).shape == _laid(values, None).shape == (1, 4)
    assert np.isnan(_shares(np.zeros(3))).all()
    run = folder(tmp_path, lines(worths(noise=1.0, seed=1)), seed=0, privacy="none")
    assert read(run).layout is None
    (tmp_path / "interpretability" / "attribution" / f"{LAYOUT}.csv").write_text("height,width\n4,5\n")
    kept = StoredArtefact(kind="rows", title="", path=f"interpretability/attribution/{LAYOUT}.csv", split="val")
    section = run.scorecard.sections[0]
    card = replace(run.scorecard, sections=(replace(section, artefacts=(*section.artefacts, kept)),))
    (tmp_path / "scorecard.json").write_text(json.dumps(card.to_json()))
    assert read(StoredRun(tmp_path)).layout == (4, 5)
