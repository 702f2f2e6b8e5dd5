"""What is odd gets a clear answer: names that could do harm, one feature, a constant model, numbers that are none."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from planted import PLANTED, grown
from small_runs import Points, frozen, table_task
from steelyard.adapters import ClassScoring
from steelyard.adapters.table import TableAdapter
from steelyard.measurement import Measurement, Picture, Status
from steelyard_interpretability._attribution import AttributionAttachment
from steelyard_interpretability._concepts import ConceptsAttachment
from steelyard_interpretability._drift import DriftAttachment
from steelyard_interpretability._faithfulness import FaithfulnessAttachment
from steelyard_interpretability._keeping import Kept
from steelyard_interpretability.attribution import Attribution
from steelyard_interpretability.concepts import Concepts
from steelyard_interpretability.drift import Drift
from steelyard_interpretability.faithfulness import Faithfulness

ODD = (
    "<script>alert(1)</script>",
    "a/../b",
    "\u05e9\u05dc\u05d5\u05dd \u202e\u0645\u0631\u062d\u0628\u0627",
    "\U0001f600 $x^2$",
)
NAMED = TableAdapter(
    scoring=ClassScoring(), bounds=None, columns=ODD, names=("<i>no</i>", "\u202eyes\u202c \U0001f984")
)


def table(columns: int, *, count: int = 90, task: nn.Module | None = None, value: float | None = None) -> Any:
    torch.manual_seed(0)
    inputs = torch.randn(count, columns)
    if value is not None:
        inputs[:, 0] = value
    model = nn.Sequential(nn.Linear(columns, 4), nn.Tanh(), nn.Linear(4, 2)) if task is None else task
    adapter = NAMED if columns == len(ODD) else TableAdapter(scoring=ClassScoring(), bounds=None)
    return frozen(table_task(model), Points(inputs, (inputs[:, -1] > 0).long()), adapter=adapter)


def concepts(*sets: str) -> ConceptsAttachment:
    plugin = Concepts(sets=sets, layer="model.1", samples=30, counterparts=2, random_concepts=10, decisions=2)
    return ConceptsAttachment(plugin)


def test_odd_names_are_drawn_without_a_warning_and_name_no_file() -> None:
    items = [*concepts(*(f"column:{name}" for name in ODD), f"label:{NAMED.names[1]}").measure(table(4))]
    said = {str(i.at.get("concept")) for i in items if isinstance(i, Measurement)}
    assert said == {*(f"column:{name}" for name in ODD), f"label:{NAMED.names[1]}"}
    plugin = Attribution(methods=("lrp", "conductance"), layer="model.1", samples=4, pictures=2)
    items += AttributionAttachment(plugin).measure(table(4))
    pictures = [item for item in items if isinstance(item, Picture)]
    assert [picture.name for picture in pictures] == ["concepts", "attributions"]


@pytest.mark.parametrize("layer", [None, "model.1"])
def test_a_single_feature_and_a_constant_one_are_explained(layer: str | None) -> None:
    methods = ("integrated_gradients", "deep_lift_shap", "occlusion", "shapley", "kernel_shap", "lime", "lrp")
    for columns, value in ((1, None), (2, 3.0)):
        plugin = Attribution(methods=methods, layer=layer, samples=3, pictures=1, background=2, random_orders=1)
        items = [*AttributionAttachment(plugin).measure(table(columns, count=12, value=value))]
        rows = [i for i in items if isinstance(i, Measurement) and i.name == "deletion_gap"]
        assert {row.at["method"] for row in rows} == {*methods}
        assert all(row.note for row in rows)


class Constant(nn.Module):
    """Says the same of everything."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
        self.last = nn.Linear(4, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return 0 * self.last(self.body(inputs)) + torch.tensor([1.0, 0.0])


def test_a_constant_model_is_sensitive_to_no_concept() -> None:
    plugin = Concepts(sets=("label:1",), layer="model.body.1", samples=30, counterparts=2, random_concepts=10)
    rows = [*ConceptsAttachment(plugin).measure(table(4, task=Constant()))]
    scores = [row for row in rows if isinstance(row, Measurement) and row.name == "score"]
    assert {row.status for row in scores} == {Status.INVALID}
    assert "random concepts do as much" in scores[0].note


def test_a_split_without_an_example_is_skipped_with_the_reason() -> None:
    run = table(4, count=0)
    watch = DriftAttachment(Drift())
    watch.kept.append(Kept(epoch=1, rate=0.1, weights=dict(run.task.state_dict())))
    for attachment in (AttributionAttachment(Attribution()), FaithfulnessAttachment(Faithfulness()), watch):
        rows = [row for row in attachment.measure(run) if isinstance(row, Measurement)]
        assert rows
        assert {row.status for row in rows} == {Status.SKIPPED}
        assert "no example" in rows[0].note
    rows = [row for row in concepts("label:1").measure(run) if isinstance(row, Measurement)]
    assert {row.status for row in rows} == {Status.SKIPPED}
    assert "too few" in rows[0].note or "at least" in rows[0].note


def test_odd_tokens_are_drawn_without_a_warning() -> None:
    """Words with HTML, slashes, another direction and emoji, in the texts, the matrices and the names of columns."""
    run, _ = grown(PLANTED["sequence"], seed=0, trained=False, count=12)
    spelt = ("<b>", "a/../b", "\u05e9\u202e\u0645", "\U0001f600", "$x^2$", "&amp;", "\x00", "")
    adapter = replace(
        run.adapter,
        spell=lambda numbers: [f" {spelt[number % len(spelt)]}" for number in numbers],
        decode=lambda numbers: " ".join(spelt[number % len(spelt)] for number in numbers),
    )
    plugin = Attribution(methods=("input_x_gradient",), samples=2, pictures=2, removals=2, random_orders=1)
    items = [*AttributionAttachment(plugin).measure(replace(run, adapter=adapter))]
    drawn = {item.name: item for item in items if isinstance(item, Picture)}
    assert {*drawn} == {"attributions", "answers"}
    assert all(item.png.startswith(b"\x89PNG") for item in drawn.values())


@pytest.mark.parametrize("value", [float("nan")])
def test_inputs_that_are_no_numbers_are_skipped_with_the_reason(value: float) -> None:
    plugin = Attribution(methods=("lrp",), layer="model.1", samples=4)
    rows = [
        *concepts("label:1").measure(table(4, value=value)),
        *AttributionAttachment(plugin).measure(table(4, value=value)),
    ]
    assert {row.status for row in rows if isinstance(row, Measurement)} == {Status.SKIPPED}
    assert all("not finite" in row.note for row in rows if isinstance(row, Measurement))
