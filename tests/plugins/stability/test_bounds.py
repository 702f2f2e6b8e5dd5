"""Bounds of the plain model: closed forms, points that are tried, and an attack that contradicts."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import steelyard_stability._proved as proving
from helpers.chains import MODELS, POINTS, apart, box, perceptron
from small_runs import IMAGES, Points, bits, digits_task, flags, frozen, same_bits
from steelyard.measurement import Measurement, Status
from steelyard.measuring import looking
from steelyard_stability import Certified
from steelyard_stability._bounds import Box, doubled, intervals, margins, tightened
from steelyard_stability._certified import CertifiedAttachment


@pytest.mark.parametrize("radius", [0.0, 0.05, 0.3])
def test_a_linear_model_has_the_margin_of_its_closed_form(radius: float) -> None:
    torch.manual_seed(1)
    layer = nn.Linear(20, 3).requires_grad_(False)
    layers = doubled([nn.Flatten(), layer])
    weights, flat = layer.weight.double(), POINTS.double().flatten(start_dim=1)
    decisions = (flat @ weights.T + layer.bias.double()).argmax(dim=1)

    found = margins(layers, box(radius), decisions)

    for row, own in enumerate(decisions.tolist()):
        gaps = [weights[own] - weights[other] for other in range(3) if other != own]
        rest = [float(layer.bias[own] - layer.bias[other]) for other in range(3) if other != own]
        least = min(float(gap @ flat[row] - radius * gap.abs().sum()) + b for gap, b in zip(gaps, rest, strict=True))
        assert float(found[row]) == pytest.approx(least, abs=1e-6)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("radius", [0.01, 0.1, 0.5])
def test_no_point_of_the_box_is_below_the_bound(name: str, radius: float) -> None:
    torch.manual_seed(2)
    model = MODELS[name]().eval()
    layers = doubled([*model])
    whole = nn.Sequential(*layers)
    decisions = whole(POINTS.double()).argmax(dim=1)

    found = margins(layers, box(radius), decisions)
    loose = intervals(layers, box(radius))

    signs = torch.randint(0, 2, (400, *POINTS.shape), generator=torch.Generator().manual_seed(3)).double() * 2 - 1
    least = torch.stack([apart(whole(POINTS.double() + radius * sign), decisions) for sign in signs]).amin(dim=0)
    assert bool((found <= least + 1e-9).all())
    # No worse than what intervals alone would say, and near the truth where nearly nothing bends.
    by_interval = apart_at_least(loose[-1], decisions)
    assert bool((found >= by_interval - 1e-9).all())
    assert bool((found > by_interval + 1e-6).any())
    for narrow, wide in zip(tightened(layers, box(radius)), loose, strict=True):
        assert bool((narrow.low >= wide.low - 1e-9).all() and (narrow.high <= wide.high + 1e-9).all())


def apart_at_least(outputs: Box, decisions: Tensor) -> Tensor:
    own = outputs.low.gather(1, decisions[:, None])[:, 0]
    return own - outputs.high.scatter(1, decisions[:, None], -torch.inf).amax(dim=1)


@pytest.mark.parametrize("name", MODELS)
def test_a_box_of_one_point_has_the_margin_of_the_point(name: str) -> None:
    torch.manual_seed(4)
    layers = doubled([*MODELS[name]().eval()])
    logits = nn.Sequential(*layers)(POINTS.double())

    torch.testing.assert_close(margins(layers, box(0.0), logits.argmax(dim=1)), apart(logits, logits.argmax(dim=1)))


@pytest.mark.parametrize(
    "layer", [nn.GELU(), nn.MaxPool2d(2), nn.GroupNorm(1, 2), nn.Conv2d(1, 1, 3, padding_mode="reflect")]
)
def test_a_layer_without_a_bound_is_refused(layer: nn.Module) -> None:
    with pytest.raises(ValueError, match=f"no bound is known here of {type(layer).__name__}"):
        doubled([layer])


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.flat, self.one, self.bend, self.two = nn.Flatten(), nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        flat = self.flat(inputs)
        return self.two(self.bend(self.one(flat)) + flat)


def told(model: nn.Module, **options: Any) -> dict[tuple[Any, ...], Measurement]:
    task = digits_task(model)
    run = frozen(task, Points(POINTS, torch.zeros(6).long()), adapter=IMAGES)
    before = bits(task), flags(task)
    plugin = Certified(examples=6, selection=10, looks=(10,), max_seconds=None, **options)
    with looking(run.task):
        rows = [row for row in CertifiedAttachment(plugin).measure(run) if isinstance(row, Measurement)]
    assert same_bits(before[0], bits(task))
    assert flags(task) == before[1]
    return {(row.name, *row.at.values()): row for row in rows}


def test_what_is_proved_falls_with_the_radius_and_no_attack_contradicts() -> None:
    torch.manual_seed(5)
    rows = told(perceptron(), bounds=(0.0001, 0.5))

    assert rows["proved", 0.0001].value == 1
    assert rows["proved", 0.5].at_unit == "pixel value"
    assert (rows["proved", 0.5].value or 0) < 1
    assert rows["proved", 0.0001].status is Status.MEASURED
    assert (rows["proved_accuracy", 0.0001].value or 0) <= 1
    assert (rows["open", 0.5].value or 0) + (rows["proved", 0.5].value or 0) <= 1
    assert not any(key[0] == "proved" for key in told(perceptron()))


def test_a_proof_that_an_attack_contradicts_is_invalid(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(5)
    monkeypatch.setattr(proving, "margins", lambda layers, box, decisions: torch.ones(len(decisions)))

    row = told(perceptron(), bounds=(0.5,))["proved", 0.5]

    assert row.status is Status.INVALID
    assert "an attack changes" in row.note


def bent() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(20, 3), nn.Tanh())


@pytest.mark.parametrize(("model", "words"), [(Branching, "no plain chain"), (bent, "Tanh")])
def test_a_model_of_other_layers_is_skipped_with_the_reason(model: Any, words: str) -> None:
    row = told(model(), bounds=(0.1,))["proved",]

    assert row.status is Status.SKIPPED
    assert words in row.note


@pytest.mark.parametrize("bounds", [(0.0,), (0.2, 0.1), (0.1, 0.1)])
def test_bounds_that_do_not_rise_are_a_problem(bounds: tuple[float, ...]) -> None:
    (problem,) = Certified(bounds=bounds).preflight(None)  # type: ignore[arg-type]
    assert problem.fix == "stability.certified.bounds=[]"
