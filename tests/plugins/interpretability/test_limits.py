from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import nn

from questions_to_models import noise, to_model
from small_runs import digits, digits_task, frozen
from steelyard.measurement import Measurement, Picture
from steelyard.runs import Run
from steelyard_interpretability import Attribution, Faithfulness
from steelyard_interpretability._attribution import AttributionAttachment
from steelyard_interpretability._faithfulness import FaithfulnessAttachment
from steelyard_interpretability._limits import Passes, Plan, fitting, planned
from steelyard_interpretability.methods.registry import METHODS


class Clock:
    """Time passes only where something is explained."""

    def __init__(self, *, fixed: float, scaled: float) -> None:
        self.now, self.fixed, self.scaled = 100.0, fixed, scaled
        self.asked: list[tuple[int, float]] = []

    def act(self, places: Sequence[int], effort: float) -> None:
        self.asked.append((len(places), effort))
        self.now += len(places) * (self.fixed + effort * self.scaled)

    def plan(self, *, count: int, max_seconds: float | None, extra: int = 0) -> Plan:
        return planned(
            self.act, count=count, extra=extra, max_seconds=max_seconds, started=self.now, clock=lambda: self.now
        )


def test_without_a_limit_nothing_is_tried() -> None:
    clock = Clock(fixed=1, scaled=1)
    assert clock.plan(count=5, max_seconds=None) == Plan(effort=1.0, places=(0, 1, 2, 3, 4))
    assert clock.asked == []


@pytest.mark.parametrize("max_seconds", [1.0, 3.0, 10.0, 20.0, 40.0, 80.0, 160.0, 1000.0])
def test_steps_shrink_before_examples_and_the_limit_holds(max_seconds: float) -> None:
    clock = Clock(fixed=0.1, scaled=1.0)
    started = clock.now
    plan = clock.plan(count=64, extra=8, max_seconds=max_seconds)

    assert 1 / 8 <= plan.effort <= 1
    assert len(set(plan.places)) == len(plan.places) >= 2
    assert len(plan.places) == 64 or plan.effort == 1 / 8
    # What was found out is part of the bill, and so are the pictures.
    clock.act(plan.places, plan.effort)
    each = clock.fixed + plan.effort * clock.scaled
    bill = clock.now - started + 8 * each * len(plan.places) / 64
    assert bill <= max_seconds or len(plan.places) == 2
    assert (plan.words == "") == (plan.effort == 1 and len(plan.places) == 64)


def test_far_from_the_limit_only_an_eighth_of_two_examples_is_tried() -> None:
    clock = Clock(fixed=0, scaled=1)
    assert clock.plan(count=40, max_seconds=1000) == Plan(effort=1.0, places=tuple(range(40)))
    assert clock.asked == [(2, 1 / 8)]


def test_what_was_taken_away_is_said() -> None:
    assert Clock(fixed=0, scaled=1).plan(count=40, max_seconds=30).words == (
        "max_seconds=30 left time for 0.5 of the steps and draws"
    )
    assert Clock(fixed=1, scaled=0).plan(count=40, max_seconds=12).words == (
        "max_seconds=12 left time for 0.125 of the steps and draws and 10 of 40 examples"
    )


def test_passes_shrink_with_the_memory_and_change_no_more_than_rounding() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))
    wide = to_model(model, noise(6, 1, 8, 8))
    assert fitting(wide, max_memory_mb=None).at_once == fitting(wide, max_memory_mb=256).at_once == 1024

    # The input, the ReLU's output once and no weights, and as many gradients.
    narrow = fitting(wide, max_memory_mb=0.02)
    each = 2 * (64 + 4 * 36) * 4
    assert narrow.at_once == int(0.02 * 2**20 / each)
    assert f"{narrow.at_once} inputs in one pass" in narrow.words
    fewer = replace(wide, at_once=narrow.at_once)
    for name in ("integrated_gradients", "occlusion", "smoothgrad", "kernel_shap"):
        torch.testing.assert_close(METHODS[name].explain(fewer), METHODS[name].explain(wide), rtol=1e-4, atol=1e-6)

    least = fitting(wide, max_memory_mb=0.001)
    assert least.at_once == 1
    assert "too little" in least.words


def test_what_a_pass_keeps_on_a_cpu_stays_near_the_processor() -> None:
    broad = to_model(
        nn.Sequential(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(2**15, 2)), noise(1, 1, 32, 32)
    )
    assert fitting(broad, max_memory_mb=None) == Passes(at_once=3 * 2**22 // (4 * (2**10 + 2**15)), words="")
    huge = to_model(nn.Sequential(nn.Flatten(), nn.Linear(2**18, 2)), noise(1, 1, 512, 512))
    assert fitting(huge, max_memory_mb=None).at_once == 16


@pytest.fixture(scope="module")
def untaught() -> Run:
    torch.manual_seed(0)
    return frozen(digits_task(), digits())


def test_the_report_says_which_limits_were_reached(untaught: Run) -> None:
    plugin = Attribution(samples=12, pictures=1, random_orders=2, max_seconds=1e-6, max_memory_mb=0.01)
    rows = {
        item.name: item
        for item in AttributionAttachment(plugin).measure(untaught)
        if isinstance(item, Measurement) and not item.at
    }
    assert rows["deletion_gap"].count == 2
    assert "0.125 of the steps and draws and 2 of 12 examples" in rows["deletion_gap"].note
    assert "max_memory_mb=0.01" in rows["deletion_gap"].note

    tried = Faithfulness(
        methods=("input_x_gradient",), samples=6, pictures=1, neighbours=1, stages=1, max_seconds=1e-6, random_orders=8
    )
    items = list(FaithfulnessAttachment(tried).measure(untaught))
    picture = next(item for item in items if isinstance(item, Picture))
    assert picture.panel is not None
    facts = dict(picture.panel.facts)
    assert facts["limits"] == "max_seconds=1e-06 left time for 0.125 of the steps and draws and 2 of 6 examples"
    assert facts["random orders"] == "1 for each example"
    gaps = [item for item in items if isinstance(item, Measurement) and item.name == "deletion_gap"]
    assert gaps[0].count == 2
    assert "max_seconds=1e-06" in gaps[0].note


def test_the_trust_panel_says_what_the_deadline_left_no_time_for(untaught: Run) -> None:
    tried = Faithfulness(
        methods=("input_x_gradient", "saliency"),
        samples=6,
        pictures=1,
        neighbours=0,
        stages=1,
        random_orders=1,
        draws=2,
    )
    late = FaithfulnessAttachment(tried).measure(replace(untaught, deadline=0.0))
    (panel,) = [item.panel for item in late if isinstance(item, Picture)]
    assert panel is not None
    facts = dict(panel.facts)
    assert facts["limits"] == (
        "the deadline left time for 0.125 of the steps and draws and 2 of 6 examples; "
        "the deadline left no time for saliency"
    )
    assert facts["refused"] == "saliency: the deadline left no time for it"
