"""Siblings compared: spread, churn, paired differences, and what few seeds may not say."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from helpers.victims import fitted, held, mlp
from small_runs import Points, digits_task, frozen
from steelyard.measurement import Measurement, Picture, Status, Table
from steelyard.measuring import plugin_sections
from steelyard.runs import Seconds
from steelyard.scorecard import Scorecard, Section, StoredArtefact
from steelyard.selection import Selected
from steelyard.stored import StoredRun
from steelyard_stability import Seeds
from steelyard_stability._answers import COLUMNS, disagreement, read, restless
from steelyard_stability._pairs import Verdict, difference, spread
from steelyard_stability._seeds import SeedsAttachment

KEY = "stability.seeds"
Rows = Sequence[tuple[Any, ...]]


def run_folder(place: Path, rows: Rows, *, seed: int = 0, model: str = "mlp", data: str = "abc") -> StoredRun:
    """A run folder as the core writes it, with these answers (wanted, said, mark)."""
    place.mkdir(parents=True)
    lines = "\n".join([",".join(COLUMNS), *(",".join(map(str, row)) for row in rows)])
    file = place / "stability" / "seeds" / "answers.csv"
    file.parent.mkdir(parents=True)
    file.write_text(lines + "\n")
    kept = StoredArtefact(kind="table", title="answers", path="stability/seeds/answers.csv", split="test")
    section = Section(key=KEY, status=Status.SKIPPED, settings={"count": 5}, artefacts=(kept,))
    card = Scorecard(title=model, spec="s", seed=seed, sections=(section,), choices={"model": model})
    (place / "scorecard.json").write_text(json.dumps(card.to_json()))
    (place / "config.yaml").write_text(yaml.safe_dump({"seed": seed, "model": {"name": model}}))
    (place / "provenance.json").write_text(json.dumps({"data_fingerprint": data, "choices": {"model": model}}))
    return StoredRun(place)


def answers(right: np.ndarray) -> Rows:
    """Two classes; what is wrong is the other one."""
    return [(number % 2, number % 2 if good else 1 - number % 2, float(good)) for number, good in enumerate(right)]


def said(runs: Sequence[StoredRun], name: str) -> list[Measurement]:
    return [item for item in Seeds().compare(runs) if isinstance(item, Measurement) and item.name == name]


def test_two_models_half_a_point_apart_on_1000_examples_are_inconclusive(tmp_path: Path) -> None:
    one, other = np.ones(1000, dtype=bool), np.ones(1000, dtype=bool)
    one[:95] = False
    other[60:160] = False

    runs = [run_folder(tmp_path / name, answers(right), model=name) for name, right in (("a", one), ("b", other))]

    (row,) = said(runs, "difference")
    assert row.value == pytest.approx(0.005)
    assert row.note.startswith("inconclusive: 65 examples right in the first alone, 60 in the second alone")
    assert row.interval is not None
    assert row.interval[0] < 0 < row.interval[1]
    assert {row.status for row in said(runs, "churn")} == {Status.SKIPPED}
    table = next(item for item in Seeds().compare(runs) if isinstance(item, Table) and item.name == "differences")
    assert [line[-1] for line in table.rows] == ["inconclusive"]


@pytest.mark.parametrize(("seeds", "verdict"), [(1, Verdict.HERE), (4, Verdict.HERE), (5, Verdict.ROBUST)])
def test_fewer_than_5_seeds_never_speak_of_a_robust_difference(tmp_path: Path, seeds: int, verdict: Verdict) -> None:
    generator = np.random.default_rng(0)
    runs = [
        run_folder(tmp_path / f"{model}{seed}", answers(generator.random(1000) < chance), seed=seed, model=model)
        for model, chance in (("a", 0.95), ("b", 0.7))
        for seed in range(seeds)
    ]

    told = repr([*Seeds().compare(runs)])

    (row,) = said(runs, "difference")
    assert row.note.startswith(f"{verdict}: ")
    assert ("robust difference" in told) == (seeds >= 5)


def test_the_spread_and_the_churn_of_siblings(tmp_path: Path) -> None:
    rights = np.ones((3, 100), dtype=bool)
    rights[1, :10] = False
    rights[2, 5:25] = False
    runs = [run_folder(tmp_path / str(seed), answers(right), seed=seed) for seed, right in enumerate(rights)]

    found = {row.name: row for row in Seeds().compare(runs) if isinstance(row, Measurement)}

    assert found["accuracy"].value == pytest.approx(0.9)
    assert found["accuracy_deviation"].value == pytest.approx(0.1)
    assert found["accuracy_lowest"].value == pytest.approx(0.8)
    # Pairs differ on 10, 20 and 5 + 15 of 100 examples.
    assert found["churn"].value == pytest.approx((10 + 20 + 20) / 300)
    assert "seeds 0, 1, 2; fewer than 5 seeds" in found["churn"].note
    assert "at most 0.2" in found["churn"].note
    # 10 to 0 and 20 to 0 are no chance, 5 to 15 may be.
    assert "2 of 3 pairs differ" in found["churn"].note
    low, high = found["churn"].interval or (1, 0)
    assert low < 50 / 300 < high


def test_the_churn_matrix_is_drawn_and_listed(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    runs = [
        run_folder(
            tmp_path / f"{number}", answers(generator.random(50) < 0.8), seed=number // 2, model=f"m{number % 2}"
        )
        for number in range(26)
    ]

    items = [*Seeds().compare(runs)]

    picture = next(item for item in items if isinstance(item, Picture))
    assert picture.png.startswith(b"\x89PNG")
    assert "2 more runs are left out" in picture.title
    table = next(item for item in items if isinstance(item, Table) and item.name == "churn_matrix")
    assert len(table.rows) == 24
    assert all(row[place + 1] == 0.0 for place, row in enumerate(table.rows))
    assert max(len(str(cell)) for row in table.rows for cell in row[1:]) <= 6


def test_runs_on_other_examples_are_not_compared(tmp_path: Path) -> None:
    good = np.ones(20, dtype=bool)
    first = run_folder(tmp_path / "a", answers(good), model="a")
    data = run_folder(tmp_path / "b", answers(good), model="b", data="other")
    order = run_folder(tmp_path / "c", [*answers(good)[1:], (1, 1, 1.0)], model="c")

    items = [*Seeds().compare([first, data, order])]

    assert not [item for item in items if isinstance(item, Measurement) and item.name == "difference"]
    apart = next(item for item in items if isinstance(item, Table))
    assert [row[0] for row in apart.rows] == ["b", "c"]


def test_runs_that_kept_no_answers_say_nothing(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "a", answers(np.ones(5, dtype=bool)))
    bare = tmp_path / "b"
    bare.mkdir()
    card = replace(run.scorecard, sections=())
    (bare / "scorecard.json").write_text(json.dumps(card.to_json()))

    assert not [*Seeds().compare([StoredRun(bare)])]
    assert read(StoredRun(bare)) is None


def test_churn_is_that_of_all_pairs_one_by_one() -> None:
    generator = np.random.default_rng(3)
    words = generator.integers(0, 3, (4, 40)).astype(str)
    runs = [type("A", (), {"said": row})() for row in words]
    slow = [[sum(a != b for a, b in zip(one, two, strict=True)) / 40 for two in words] for one in words]

    assert np.allclose(disagreement(runs), slow)
    assert restless(runs).mean() == pytest.approx(np.mean([slow[i][j] for i in range(4) for j in range(i)]))


def test_the_intervals_hold_the_truth_over_seeds_and_examples() -> None:
    generator, hits, paired_hits, trials = np.random.default_rng(0), 0, 0, 600

    def config(mean: float, easy: np.ndarray) -> np.ndarray:
        lucky = generator.normal(0, 0.02, (5, 1))
        return (generator.random((5, len(easy))) < np.clip(mean + lucky + easy, 0, 1)).astype(float)

    for _ in range(trials):
        easy = generator.choice([-0.15, 0.15], 200)
        one, other = config(0.8, easy), config(0.77, easy)
        low, high = spread(one)[1]
        hits += low <= 0.8 <= high
        low, high = difference(one, other, paired=True).interval
        paired_hits += low <= 0.03 <= high

    # Three standard errors of 95 % over 600 trials are 2.7 points.
    assert hits / trials >= 0.923
    assert paired_hits / trials >= 0.923


def test_a_run_keeps_one_answer_for_each_test_example(tmp_path: Path) -> None:
    inputs, targets = held(30)
    model = fitted(mlp)
    run = replace(frozen(digits_task(model), Points(inputs, targets)), folder=tmp_path, seconds={KEY: Seconds()})
    plugin = Seeds()

    (section,) = plugin_sections([Selected(KEY, plugin)], {KEY: SeedsAttachment()}, run)

    card = Scorecard(title="t", spec="s", seed=0, sections=(section,))
    (tmp_path / "scorecard.json").write_text(json.dumps(card.to_json()))
    (tmp_path / "provenance.json").write_text("{}")
    kept = read(StoredRun(tmp_path))
    assert kept is not None
    assert kept.wanted == tuple(str(int(target)) for target in targets)
    with torch.no_grad():
        assert [int(word) for word in kept.said] == model(inputs).argmax(dim=1).tolist()
    assert kept.marks.tolist() == [float(a == b) for a, b in zip(kept.wanted, kept.said, strict=True)]


def test_the_siblings_differ_in_their_seed_alone() -> None:
    assert [*Seeds(count=3).trials({"seed": 7})] == [("seed=8",), ("seed=9",)]
