"""On clean models no method of a layer is refused, and each is right by the slow obvious way."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from model_zoo import CLEAN
from questions_to_models import noise, to_model
from steelyard_interpretability.measures.curves import erasure
from steelyard_interpretability.methods.layered import at_layer, of_neuron
from steelyard_interpretability.methods.layers import chosen_layer, replaced
from steelyard_interpretability.methods.question import Question
from steelyard_interpretability.methods.registry import METHODS, Of, explain

pytestmark = pytest.mark.filterwarnings("ignore:Input Tensor", "ignore:Setting")
COUNT, PLACES = 2, 256
Rule = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Gradient from above, what a ReLU is given, and was given for the baseline -> the gradient that it passes on."""


def asked(name: str) -> Question:
    make, shape = CLEAN[name]
    torch.manual_seed(1)
    return to_model(
        make().double(),
        noise(COUNT, *shape).double() * 2,
        baselines=noise(COUNT, *shape, seed=1).double(),
        decisions=torch.tensor([0, 1]),
        background=noise(2, *shape, seed=2).double(),
    )


def ruled(question: Question, base: Tensor, rule: Rule) -> Tensor:
    """The gradient by the inputs in a copy whose ReLUs pass it on by a rule of their own."""

    class Passing(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, given: Tensor, there: Tensor) -> Tensor:
            ctx.save_for_backward(given, there)
            return given.relu()

        @staticmethod
        def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor, None]:
            return rule(grad[0], *ctx.saved_tensors), None

    class Ruled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.there: Tensor | None = None

        def forward(self, given: Tensor) -> Tensor:
            if self.there is None:
                self.there = given.detach().clone()
            return Passing.apply(given, self.there)

    assert question.task is not None
    twin: Any = copy.deepcopy(question.task)
    for name, layer in [*twin.named_modules()]:
        if isinstance(layer, nn.ReLU):
            parent, _, last = name.rpartition(".")
            setattr(twin.get_submodule(parent), last, Ruled())
    twin(base.expand_as(question.inputs))
    leaf = question.inputs.clone().requires_grad_()
    return torch.autograd.grad(twin(leaf).gather(1, torch.arange(COUNT)[:, None]).sum(), leaf)[0]


def rescaled(above: Tensor, given: Tensor, there: Tensor) -> Tensor:
    """DeepLIFT's rule: the change of what comes out, for that of what goes in; the slope where nothing changes."""
    change = given - there
    return above * torch.where(change == 0, (given > 0).to(given), (given.relu() - there.relu()) / change)


def guided(above: Tensor, given: Tensor, there: Tensor) -> Tensor:
    return above.clamp(min=0) * (given > 0)


def deconvolved(above: Tensor, given: Tensor, there: Tensor) -> Tensor:
    return above.clamp(min=0)


def plain(above: Tensor, given: Tensor, there: Tensor) -> Tensor:
    return above * (given > 0)


@pytest.mark.parametrize("name", CLEAN)
def test_what_changes_the_backward_pass_is_a_copy_with_those_rules(name: str) -> None:
    question = asked(name)
    assert question.background is not None
    base, inputs = question.baselines, question.inputs
    right = {
        "deep_lift": (inputs - base) * ruled(question, base, rescaled),
        "deep_lift_shap": torch.stack(
            [(inputs - one) * ruled(question, one, rescaled) for one in question.background]
        ).mean(dim=0),
        "guided_backprop": ruled(question, base, guided),
        "deconvolution": ruled(question, base, deconvolved),
        "lrp": inputs * ruled(question, base, plain),
    }
    for method, wanted in right.items():
        torch.testing.assert_close(explain(method, question), wanted, rtol=0, atol=1e-9)
    if inputs.dim() == 4:
        # Grad-CAM's map is shared by the channels.
        drawn = right["guided_backprop"] * inputs.shape[1] * explain("grad_cam", question)
        torch.testing.assert_close(explain("guided_grad_cam", question), drawn, rtol=0, atol=1e-9)


def along(question: Question, name: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What a layer gives on the way from the baselines to the inputs, at the middles of equal parts of it.

    Returns:
        The inputs there (PLACES * COUNT, ...), with a graph; what the layer gives for each; the score's gradient by
        it; and what it gives at the ends of the parts (PLACES + 1, COUNT, ...).
    """
    assert question.task is not None
    layer = question.task.get_submodule(name)
    change = question.inputs - question.baselines

    def ask(places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        steps = places.view(-1, *[1] * change.dim()).to(change)
        way = (question.baselines + steps * change).flatten(0, 1).requires_grad_()
        kept: list[Tensor] = []

        def keep(output: Tensor) -> Tensor:
            kept.append(output)
            return output.clone()

        with replaced(layer, keep):
            score = question.score(way.clone(), torch.arange(COUNT).repeat(len(places)))
        return way, kept[0], score

    way, given, score = ask((torch.arange(PLACES) + 0.5) / PLACES)
    (slope,) = torch.autograd.grad(score.sum(), given, retain_graph=True)
    ends = ask(torch.arange(PLACES + 1) / PLACES)[1].detach()
    return way, given, slope, ends.unflatten(0, (PLACES + 1, COUNT))


@pytest.mark.parametrize(
    ("name", "named"),
    [*((name, None) for name in CLEAN), ("relu in place", "0"), ("convolutions in place", "0"), ("residual", "1")],
)
def test_methods_of_a_layer_and_of_a_neuron_are_the_sums_they_are_defined_by(name: str, named: str | None) -> None:
    question = asked(name)
    layer = named or chosen_layer(question)
    way, given, slope, ends = along(question, layer)
    slopes = slope.unflatten(0, (PLACES, COUNT))
    right = {
        "layer_activation": ends[-1] - ends[0],
        "conductance": (slopes * ends.diff(dim=0)).sum(dim=0),
        "internal_influence": slopes.mean(dim=0),
    }
    # A middle one of those that do something.
    alive = right["conductance"].abs().sum(dim=0).flatten()
    place = torch.unravel_index(alive.argmax(), right["conductance"].shape[1:])
    neuron = tuple(int(at) for at in place)
    (moves,) = torch.autograd.grad(given[(slice(None), *neuron)], way, slope[(slice(None), *neuron)])
    change = question.inputs - question.baselines
    right["neuron_conductance"] = change * moves.unflatten(0, (PLACES, COUNT)).mean(dim=0)
    asked_of = {Of.LAYER: at_layer(question, layer), Of.NEURON: of_neuron(question, layer, neuron)}
    for method, wanted in right.items():
        found = explain(method, asked_of[METHODS[method].of])
        # In 64 steps, each of which may hold a kink.
        exact = method == "layer_activation"
        off = float((found - wanted).abs().max() / wanted.abs().max())
        assert off <= (1e-9 if exact else 0.05), (method, layer, off)


def test_asking_changes_no_input_where_the_model_works_in_place() -> None:
    posed = at_layer(asked("relu in place"), "0")
    ends = posed.inputs.clone(), posed.baselines.clone()
    for method in ("integrated_gradients", "deep_lift", "shapley", "conductance"):
        explain(method, posed)
    erasure(posed, posed.inputs)
    assert torch.equal(posed.inputs, ends[0])
    assert torch.equal(posed.baselines, ends[1])
