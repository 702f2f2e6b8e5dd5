"""Methods of layers and neurons: closed forms, and what a run says of them."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from questions_to_models import noise, to_model
from small_runs import TABLE, frozen, parted, table_task
from steelyard.measurement import Measurement, Picture, Status, Table
from steelyard_interpretability._attribution import AttributionAttachment
from steelyard_interpretability.attribution import Attribution
from steelyard_interpretability.methods.layered import at_layer, of_neuron
from steelyard_interpretability.methods.question import Question
from steelyard_interpretability.methods.registry import METHODS, explain, lacking

pytestmark = pytest.mark.filterwarnings("ignore:Input Tensor", "ignore:Setting", "ignore:Attempting to construct")
CLASSES = torch.tensor([0, 1, 2, 1])


def net(act: nn.Module) -> nn.Module:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(5, 6, bias=False), act, nn.Linear(6, 4), type(act)(), nn.Linear(4, 3)).double()
    with torch.no_grad():
        model[2].bias += 1  # no neuron is dead
    return model


def question(model: nn.Module, **settings: Any) -> Question:
    return to_model(
        model,
        noise(4, 5).double(),
        baselines=noise(4, 5, seed=1).double(),
        decisions=CLASSES,
        background=noise(3, 5, seed=2).double(),
        **{"tolerance": 1e-9, "max_steps": 4096, **settings},
    )


def test_deep_lift_shap_of_a_linear_model_is_the_closed_form() -> None:
    straight = nn.Sequential(nn.Linear(5, 3)).double()
    asked = question(straight)
    assert asked.background is not None
    slope = straight[0].weight[CLASSES]
    torch.testing.assert_close(
        explain("deep_lift_shap", asked), slope * (asked.inputs - asked.background.mean(dim=0)), rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("name", ["deep_lift_shap", "conductance", "internal_influence"])
def test_no_pass_is_larger_than_allowed_and_the_numbers_are_the_same(name: str) -> None:
    model = net(nn.ReLU())
    sizes: list[int] = []
    model[0].register_forward_hook(lambda module, given, output: sizes.append(len(given[0])))
    found: list[Tensor] = []
    for at_once in (256, 10):
        asked = question(model, at_once=at_once)
        posed = asked if name == "deep_lift_shap" else at_layer(asked, "1")
        sizes.clear()
        found.append(METHODS[name].explain(posed))
        assert max(sizes) <= at_once + 1
    torch.testing.assert_close(*found, rtol=0, atol=1e-9)


def test_conductance_adds_up_where_all_goes_through() -> None:
    asked = question(net(nn.Tanh()))
    total = explain("conductance", at_layer(asked, "1")).sum(dim=1)
    difference = asked.score(asked.inputs, asked.rows()) - asked.score(asked.baselines, asked.rows())
    torch.testing.assert_close(total, difference.detach(), rtol=0, atol=2e-2)


def test_units_of_a_picture_are_channels_and_a_neuron_may_be_a_whole_map() -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))
    asked = to_model(model, noise(2, 1, 4, 4))
    posed = at_layer(asked, "0")
    assert posed.present.shape == (2, 3)
    assert posed.units[:, 0, 0].tolist() == [0, 1, 2]
    value = of_neuron(asked, "0", (1,)).score(asked.inputs, asked.rows())
    torch.testing.assert_close(value, model[0](asked.inputs)[:, 1].mean(dim=(1, 2)))
    with pytest.raises(ValueError, match="no place"):
        of_neuron(asked, "0", (3,))
    with pytest.raises(ValueError, match="of one neuron"):
        METHODS["neuron_conductance"].explain(of_neuron(asked, "0", (1,)))


def test_places_of_a_text_that_are_padding_are_no_units_of_its_layer() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Flatten(), nn.Linear(20, 2))
    units = torch.arange(5)[:, None].expand(5, 3)
    asked = to_model(model, noise(2, 5, 3), units=units)
    there = torch.tensor([[True] * 5, [True, True, True, False, False]])
    posed = at_layer(replace(asked, present=there), "1")
    assert torch.equal(posed.present, there)
    assert posed.units[:, 0].tolist() == [0, 1, 2, 3, 4]


def small() -> Any:
    torch.manual_seed(0)
    return table_task(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2)))


@pytest.mark.parametrize(
    ("neuron", "refused", "said"),
    [((), "neuron_conductance", "of the layer model.1"), ((3,), "conductance", "of the value of neuron 3 in model.1")],
)
def test_a_run_explains_by_a_layer_or_explains_a_neuron(neuron: tuple[int, ...], refused: str, said: str) -> None:
    methods = ("integrated_gradients", "deep_lift_shap", refused)
    plugin = Attribution(methods=methods, layer="model.1", neuron=neuron, samples=4, pictures=1, background=3)
    items = [*AttributionAttachment(plugin).measure(frozen(small(), parted(40), adapter=TABLE))]
    gaps = {str(i.at["method"]): i for i in items if isinstance(i, Measurement) and i.name == "deletion_gap"}
    assert gaps[refused].status is Status.SKIPPED
    assert said in gaps["integrated_gradients"].note
    assert ("the neuron's value" in gaps["integrated_gradients"].meaning) is bool(neuron)
    assert all(i.value == 1 for i in items if isinstance(i, Measurement) and i.name == "converged")
    (picture,) = [item for item in items if isinstance(item, Picture)]
    assert "model.1" in picture.title
    assert "parts" not in [item.name for item in items if isinstance(item, Table)]


def test_a_layer_that_is_called_twice_is_skipped_with_the_reason() -> None:
    act = nn.ReLU()
    task = table_task(nn.Sequential(nn.Linear(6, 8), act, nn.Linear(8, 8), act, nn.Linear(8, 2)))
    (row,) = AttributionAttachment(Attribution(layer="model.1")).measure(frozen(task, parted(40), adapter=TABLE))
    assert isinstance(row, Measurement)
    assert row.status is Status.SKIPPED
    assert "called 2 times" in row.note


@pytest.mark.parametrize(
    ("methods", "layer", "neuron", "fix"),
    [
        (("conductance",), None, (), "x.layer=model.2"),
        (("conductance",), "model.1", (0,), "x.neuron=[]"),
        (("neuron_conductance",), "model.1", (), "x.layer=model.1 x.neuron=[0]"),
        (("saliency",), None, (0,), "x.layer=model.2"),
    ],
)
def test_what_lacks_its_layer_is_refused_with_an_override(methods: Any, layer: Any, neuron: Any, fix: str) -> None:
    (problem,) = lacking(methods, layer=layer, neuron=neuron, task=small, option="x")
    assert problem.fix == fix
    assert [*lacking(("saliency",), layer="model.1", neuron=(0,), task=small, option="x")] == []
