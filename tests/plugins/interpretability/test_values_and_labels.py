"""Regression, and examples with several labels: what an output decides, and what spoke for it."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from small_runs import Points, frozen
from steelyard.adapters import Facts, LabelsScoring, ValueScoring, adapter_for
from steelyard.measurement import Measurement, Picture, Status
from steelyard.problem import Refused
from steelyard.runs import Run
from steelyard_interpretability import Attribution, Faithfulness
from steelyard_interpretability._attribution import AttributionAttachment
from steelyard_interpretability._explain import study
from steelyard_interpretability._faithfulness import FaithfulnessAttachment

PRICES = torch.tensor([12.5, -3.0, 0.25])
WEIGHTS = torch.tensor([[2.0, -1.0, 0.0, 0.5], [0.0, 0.0, 3.0, 0.0], [0.0, 1.0, 1.0, 0.0]])


class Plain(LightningModule):
    """A stranger's module around any function of the inputs."""

    def __init__(self, ask: Callable[[Tensor], Tensor], layer: nn.Module) -> None:
        super().__init__()
        self.ask, self.layer = ask, layer

    def forward(self, inputs: Tensor) -> Tensor:
        return self.ask(self.layer(inputs))


def linear(outputs: int) -> nn.Linear:
    layer = nn.Linear(4, outputs, bias=False)
    layer.weight.data.copy_(WEIGHTS[:outputs])
    return layer


def run_of(scoring: Any, outputs: int, *, ask: Callable[[Tensor], Tensor] = lambda x: x) -> Run:
    inputs = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    truth = inputs @ WEIGHTS[:outputs].T
    targets = ask(truth) if scoring != "labels" else (truth > 0).float()
    adapter = adapter_for("table", facts=Facts(names=("red", "green", "blue")), options={"scoring": scoring})
    return frozen(Plain(ask, linear(outputs)), Points(inputs, targets), adapter=adapter)


def test_a_value_is_told_in_units_of_the_targets() -> None:
    scoring = ValueScoring(scale=5.0)
    said = scoring.decisions(PRICES, PRICES)
    assert said.tolist() == [2500, -600, 50]
    assert scoring.told(scoring.said(said[0])) == "12.5"
    assert scoring.wanted(scoring.truth(PRICES, PRICES)[1]) == [-600]
    assert scoring.truth(PRICES, torch.tensor([5, 10])).tolist() == [1000, 2000]
    assert scoring.marks(said, said).tolist() == [1.0, 1.0, 1.0]
    assert scoring.marks(said, said + 1000).tolist() == pytest.approx([math.exp(-1)] * 3)
    assert scoring.probabilities(PRICES + 5, said).tolist() == pytest.approx([math.exp(-1)] * 3, rel=1e-5)
    assert scoring.losses(PRICES + 10, said).tolist() == pytest.approx([2.0] * 3, rel=1e-5)
    assert scoring.same(said, said + torch.tensor([999, 1000, -999])).tolist() == [True, False, True]


@pytest.mark.parametrize("shape", [(3,), (3, 1), (3, 2)])
def test_values_of_any_shape_have_a_row_each(shape: tuple[int, ...]) -> None:
    scoring, outputs = ValueScoring(), torch.randn(shape, generator=torch.Generator().manual_seed(1))
    said = scoring.decisions(outputs, outputs)
    assert said.shape == (shape if shape[1:] == (2,) else (3,))
    assert scoring.scores(outputs, said).tolist() == pytest.approx(outputs.reshape(3, -1).mean(dim=1).tolist())
    assert scoring.losses(outputs, said).tolist() == pytest.approx([0.0] * 3, abs=1e-6)
    assert scoring.probabilities(outputs, said).tolist() == pytest.approx([1.0] * 3, abs=1e-3)
    assert scoring.same(said, said).shape == (3,)


def test_labels_are_those_that_are_likelier_than_not() -> None:
    scoring = LabelsScoring()
    logits = torch.tensor([[2.0, -1.0, 4.0], [-1.0, -2.0, -3.0]])
    truth = scoring.truth(logits, torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))
    said = scoring.decisions(logits, truth)
    assert [scoring.said(row) for row in said] == [[0, 2], []]
    assert [scoring.wanted(row) for row in truth] == [[0], []]
    assert scoring.marks(said, truth).tolist() == pytest.approx([2 / 3, 1.0])
    assert scoring.scores(logits, said).tolist() == [3.0, 2.0]
    chances = logits.sigmoid()
    right = [float((chances[0, 0] * chances[0, 2]).sqrt()), float((1 - chances[1]).prod() ** (1 / 3))]
    assert scoring.probabilities(logits, said).tolist() == pytest.approx(right, rel=1e-5)
    each = torch.nn.functional.binary_cross_entropy(chances, truth.float(), reduction="none").mean(dim=1)
    torch.testing.assert_close(scoring.losses(logits, truth), each)
    assert scoring.same(said, truth).tolist() == [False, True]


def test_a_regression_is_explained_in_closed_form() -> None:
    run = run_of({"name": "value", "scale": 2.0}, 1)
    found = study(run, Attribution(samples=8, pictures=0, baseline="zero", removals=2, random_orders=1))
    inputs = torch.stack([run.data.val_dataloader().dataset[number][0] for number in found.samples.numbers])
    torch.testing.assert_close(
        found.maps["integrated_gradients"].attributions, inputs * WEIGHTS[0], rtol=1e-4, atol=1e-5
    )


def test_several_labels_are_explained_by_the_parts_that_speak_for_those_given() -> None:
    run = run_of("labels", 3)
    found = study(run, Attribution(samples=8, pictures=0, baseline="zero", removals=2, random_orders=1))
    inputs = torch.stack([run.data.val_dataloader().dataset[number][0] for number in found.samples.numbers])
    given = found.common.decisions.double()
    weights = given @ WEIGHTS.double() / given.sum(dim=1, keepdim=True).clamp(min=1)
    weights[given.sum(dim=1) == 0] = -WEIGHTS.double().mean(dim=0)
    right = inputs.double() * weights
    torch.testing.assert_close(found.maps["integrated_gradients"].attributions.double(), right, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("scoring", "outputs", "ask"),
    [("value", 1, lambda x: x), ("value", 1, lambda x: x[:, 0]), ("value", 3, lambda x: x), ("labels", 3, lambda x: x)],
)
def test_every_number_and_picture_of_a_class_is_there(scoring: str, outputs: int, ask: Any) -> None:
    run = run_of(scoring, outputs, ask=ask)
    items = [*AttributionAttachment(Attribution(samples=8, pictures=2, removals=3, random_orders=2)).measure(run)]
    items += FaithfulnessAttachment(Faithfulness(samples=8, pictures=1, stages=1)).measure(run)
    rows = [item for item in items if isinstance(item, Measurement)]
    told = {row.name for row in rows if row.status is not Status.SKIPPED}
    assert told >= {"deletion_gap", "weights_gap", "completeness_error", "insertion_gap", "infidelity", "sparseness"}
    gaps = [row.value for row in rows if row.name == "deletion_gap" and row.value is not None]
    assert max(gaps) > 0
    words = " ".join(item.alt for item in items if isinstance(item, Picture))
    assert ("decision red" in words or "green" in words) == (scoring == "labels")


@pytest.mark.parametrize(
    ("scoring", "said", "fix"),
    [
        ("price", "must be one of classes, labels, value, tokens", "+task.adapter.scoring=classes"),
        ({"name": "value", "size": 2}, "has no option 'size' (known: scale)", "+task.adapter.scoring=value"),
        ({"name": "labels", "scale": 2}, "(known: none)", "+task.adapter.scoring=labels"),
    ],
)
def test_an_output_that_nobody_knows_is_refused_with_an_override(scoring: Any, said: str, fix: str) -> None:
    with pytest.raises(Refused) as refused:
        adapter_for("table", options={"scoring": scoring})
    assert said in str(refused.value)
    assert fix in str(refused.value)
