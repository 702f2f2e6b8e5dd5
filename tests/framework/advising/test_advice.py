"""The advisor: what it proposes fits, says what it costs, and can be pasted."""

import re
from dataclasses import replace
from typing import Any

import pytest

from helpers import tiny
from steelyard import planning
from steelyard.advising import advice, batches
from steelyard.advising.advice import Advice, Candidate, changed, need
from steelyard.estimating._heap import LEAN
from steelyard.estimating.estimate import MOST_PAGES, SAFE, SAFE_LEAN, Estimate, Forecast
from steelyard.estimating.probing import Probed
from steelyard.estimating.settings import Planning
from steelyard.problem import Problem, Refused
from steelyard_compute import Accumulation, Checkpointing, Optimizer8bit

LEVERS = {
    "compute.accumulation": Accumulation.lever,
    "compute.optimizer_8bit": Optimizer8bit.lever,
    "compute.checkpointing": Checkpointing.lever,
}
PROBED = advice._probed
STEP = Probed(first=2.0, seconds=1.0, cpu=0.5, first_cpu=1.0, steps=5)
KB, MB = 1000, 10**6


def on_paper(config: Any) -> Forecast:
    """100 kB of weights, as much of moments, 10 kB an example; a lever saves half of its part, or takes longer."""
    levers = config.get("compute") or {}
    if {"checkpointing", "optimizer_8bit"} <= {*levers}:
        raise Refused([Problem("these two do not go together", fix="compute=none")])
    rows, parts = int(config.data.batch_size), int((levers.get("accumulation") or {}).get("batches", 1))
    moments = 50 * KB if "optimizer_8bit" in levers else 100 * KB
    each = 5 * KB if "checkpointing" in levers else 10 * KB
    flops = rows * parts * KB * (4 if "checkpointing" in levers else 3)
    memory = {"weights": 100 * KB, "optimizer": moments, "activations": each * rows}
    estimate = Estimate(flops=flops, modules={}, memory=memory, parameters=1, trainable=1, examples=rows, batches=parts)
    return Forecast(estimate=estimate, steps=960 // (rows * parts))


@pytest.fixture
def advised(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The advisor with three levers, on paper, whose probe is a second a step."""

    def side_by_side(works: Any, **_: Any) -> Any:
        return {number: work() for number, work in works.items()}

    def registered() -> Any:
        return {"compute": [key.partition(".")[2] for key in LEVERS]}

    def probed(config: Any, **_: Any) -> Probed:
        del config
        return STEP

    monkeypatch.setattr(planning, "foreseen", on_paper)
    monkeypatch.setattr(advice, "side_by_side", side_by_side)
    monkeypatch.setattr(advice, "_probed", probed)
    monkeypatch.setattr(advice, "_lever", LEVERS.get)
    monkeypatch.setattr(advice.registry, "challenges", registered)

    def go(**settings: Any) -> Advice:
        return advice.advise(tiny.config(data={"batch_size": 96}), Planning(advise=True, **settings))

    return go


def holed(config: Any) -> Forecast:
    """A thousand times as much, and a heap that may come to twice its tensors; with the lean settings it is these."""
    found = on_paper(config)
    assert found.estimate is not None
    memory = {kind: KB * count for kind, count in found.estimate.memory.items()}
    tensors = sum(memory.values())
    return replace(
        found,
        estimate=replace(found.estimate, memory=memory, held=tensors, held_most=2 * tensors, held_lean=tensors),
    )


def kept(one: Candidate) -> Forecast:
    """What the words of a candidate make, put into the config by hand."""
    keys = [f"compute.{name}" for word in one.words for name in re.findall(r"compute=\[(.*)\]", word)]
    names = [name for key in keys for name in key.partition(".")[2].split(",")]
    config = tiny.config(data={"batch_size": 96})
    return on_paper(changed(config, one.words, {f"compute.{name}": None for name in names}))


def test_what_it_proposes_fits_and_is_what_the_words_make(advised: Any) -> None:
    # 1,160 kB of tensors as it is.
    limit = SAFE * 700 * KB
    found = advised(gb=limit / 1e9)
    words = {one.words for one in found.ranked}
    assert words == {
        ("data.batch_size=48",),
        ("compute=[checkpointing]",),
        ("compute=[optimizer_8bit]", "data.batch_size=48"),
        ("compute=[accumulation]", "data.batch_size=48", "compute.accumulation.batches=2"),
        ("compute=[accumulation,checkpointing]", "data.batch_size=48", "compute.accumulation.batches=2"),
        ("compute=[accumulation,optimizer_8bit]", "data.batch_size=48", "compute.accumulation.batches=2"),
    }
    assert found.rest == 0
    for one in found.ranked:
        again = kept(one).estimate
        assert again == one.estimate
        assert need(one.estimate) == one.need <= limit


def test_what_changes_nothing_comes_first_and_the_rest_says_what_it_costs(advised: Any) -> None:
    ranked = advised(gb=SAFE * 700 * KB / 1e9).ranked
    assert [one.exact for one in ranked] == [True, True, True, False, False, False]
    # Checkpointing computes more: accumulation alone is the faster.
    assert ranked[0].words[0] == "compute=[accumulation]"
    costs = {one.words: one.costs for one in ranked}
    assert costs["compute=[checkpointing]",] == ""
    assert "train differently" in costs["data.batch_size=48",]
    both = costs["compute=[optimizer_8bit]", "data.batch_size=48"]
    assert "rounded to 8 bits" in both
    assert "train differently" in both


def test_times_follow_the_operations_and_a_limit_on_time_is_kept(advised: Any) -> None:
    found = advised(gb=1)
    seconds = {one.words: one.seconds for one in found.ranked}
    # Ten steps of a second as it is; checkpointing takes four operations for three.
    assert seconds[()] == pytest.approx(10)
    assert seconds["compute=[checkpointing]",] == pytest.approx(10 * 4 / 3)
    assert () in {one.words for one in advised(gb=1, seconds=11).ranked}
    slow = advised(gb=1, seconds=11)
    assert ("compute=[checkpointing]",) not in {one.words for one in slow.ranked}
    assert slow.rest


def test_what_fits_only_without_holes_is_offered_with_the_allocator_that_has_none(
    advised: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "foreseen", holed)
    for name in LEAN:
        monkeypatch.delenv(name, raising=False)
    # All 96 examples are 1,160 MB, and half of them 1,360 at most as the allocator is.
    limit = SAFE_LEAN * 1160 * MB + MOST_PAGES
    found = advised(gb=limit / 1e9)
    plain = [one for one in found.ranked if not one.words or one.words[0].startswith("data.")]
    assert {(one.words, one.lean) for one in plain} == {((), True), (("data.batch_size=24",), False)}
    assert all(one.need <= limit for one in found.ranked)
    # As many operations in all.
    slow, fast = sorted(plain, key=lambda one: not one.lean)
    assert slow.seconds == pytest.approx(advice.LEAN_TIME * (fast.seconds or 0))
    text = found.text()
    assert "MALLOC_MMAP_THRESHOLD_=65536 MALLOC_TRIM_THRESHOLD_=65536 steelyard run ... (as it is)" in text
    assert "slower steps" in text
    # Half of 960 kB of activations of 1,160 in all.
    assert found.plain is not None
    (light,) = [one for one in found.ranked if one.words == ("compute=[checkpointing]",)]
    assert light.saved(found.plain) == pytest.approx(480 / 1160)
    assert "(-41%)" in text


def test_nothing_that_fits_is_said(advised: Any) -> None:
    assert "nothing of" in advised(gb=1e-4).text()


def test_the_best_are_tried_when_asked(advised: Any) -> None:
    found = advised(gb=1, probe=True)
    assert sum(one.probed for one in found.ranked) == advice.TRIED
    assert all(one.seconds == 2 + 9 for one in found.ranked if one.probed and one.estimate.batches == 1)
    assert "(probed)" in found.text()
    assert "(as it is)" in found.text()


def test_one_whose_memory_runs_out_when_it_is_tried_is_not_advised(
    monkeypatch: pytest.MonkeyPatch, advised: Any
) -> None:
    whole = advised(gb=1, probe=True)

    def short(config: Any, *_: Any) -> Probed:
        raise RuntimeError("could not create a primitive")

    monkeypatch.setattr(advice, "_probed", PROBED)
    monkeypatch.setattr(advice, "probe", short)
    found = advised(gb=1, probe=True)
    assert len(found.ranked) == len(whole.ranked) - advice.TRIED
    assert found.rest == whole.rest + advice.TRIED
    assert "memory ran out" in found.how


def test_the_largest_batch_fits_and_one_a_little_larger_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "foreseen", on_paper)
    words = batches.largest_batch(tiny.config(data={"batch_size": 8}), Planning(gb=SAFE * 700 * KB / 1e9))
    rows = int(words.partition("data.batch_size=")[2].partition(":")[0])
    assert 48 <= rows <= 50
    assert "no step" in words


def test_a_much_larger_batch_without_holes_is_told_with_the_allocator_that_has_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in LEAN:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(batches, "foreseen", holed)
    asked = Planning(gb=(SAFE_LEAN * 700 * MB + MOST_PAGES) / 1e9)
    text = batches.largest_batch(tiny.config(data={"batch_size": 8}), asked)
    plain, lean = (int(line.partition("data.batch_size=")[2].partition(":")[0]) for line in text.splitlines())
    # 200 MB and 10 for each example; the heap may come to twice that.
    assert 7 <= plain <= 8 < 48 <= lean <= 50
    assert "or  MALLOC_MMAP_THRESHOLD_=65536 MALLOC_TRIM_THRESHOLD_=65536 steelyard run ... data" in text
    # Where the environment says it already, there is one answer.
    for name, value in LEAN.items():
        monkeypatch.setenv(name, value)
    assert f"data.batch_size={lean}:" in batches.largest_batch(tiny.config(data={"batch_size": 8}), asked)


def test_it_is_never_larger_than_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "foreseen", on_paper)
    words = batches.largest_batch(tiny.config(data={"batch_size": 8, "limit": 30}), Planning(gb=1))
    assert "data.batch_size=30:" in words
    assert "all of the training data" in words


def test_data_without_a_batch_size_is_refused() -> None:
    config = tiny.config()
    del config.data["batch_size"]
    with pytest.raises(Refused, match="no option"):
        batches.largest_batch(config, Planning(gb=1))
