"""No silent wrong answers: on every model of the zoo each method is right, or is refused with a reason."""

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from model_zoo import CAM, CLEAN, EVERY, ROWS, TRAPS, Trap
from questions_to_models import noise, to_model
from steelyard_interpretability.methods import _graph
from steelyard_interpretability.methods.layered import at_layer, of_neuron
from steelyard_interpretability.methods.probe import OF_LAYER, OF_NEURON, probed
from steelyard_interpretability.methods.question import Question
from steelyard_interpretability.methods.registry import METHODS, explain

pytestmark = pytest.mark.filterwarnings("ignore:Input Tensor", "ignore:Setting")
COUNT, STEP, PLACES = 3, 1e-6, 400


def asked(make: Any, shape: tuple[int, ...], *, zero: bool = False, inputs: Any = None) -> Question:
    torch.manual_seed(1)
    model = make().double()
    x = noise(COUNT, *shape).double() * 2
    base = torch.zeros_like(x) if zero else noise(COUNT, *shape, seed=1).double()
    decisions = torch.tensor([0, 1, 2])
    return to_model(
        model,
        x if inputs is None else inputs(x),
        baselines=base,
        decisions=decisions,
        background=noise(2, *shape, seed=2).double(),
        effort=0.1,
        tolerance=1e-3,
        max_steps=5120,
    )


def of_trap(trap: Trap) -> Question:
    return asked(trap.make, trap.shape, zero=trap.zero, inputs=trap.inputs)


def scores(question: Question, inputs: Tensor, row: int) -> Tensor:
    with torch.no_grad():
        return question.score(inputs.clone(), torch.full((len(inputs),), row))


def slopes(question: Question, points: Tensor, row: int) -> Tensor:
    """The gradient at points (P, ...) of one example by central differences, without autograd."""
    flat = points.flatten(1)
    moves = STEP * torch.eye(flat.shape[1], dtype=flat.dtype)
    ends = [(flat[:, None] + sign * moves).reshape(-1, *points.shape[1:]) for sign in (1, -1)]
    up, down = (scores(question, end, row) for end in ends)
    return ((up - down) / (2 * STEP)).view_as(points)


def coalitions(question: Question, row: int) -> dict[tuple[bool, ...], float]:
    """The score of every mixture of input and baseline."""
    keeps = [*itertools.product([False, True], repeat=question.present.shape[1])]
    mixed = [
        torch.where(torch.tensor(keep)[question.units], question.inputs[row], question.baselines[row]) for keep in keeps
    ]
    return dict(zip(keeps, scores(question, torch.stack(mixed), row).tolist(), strict=True))


def oracle(name: str, question: Question) -> Tensor | None:
    """The slow obvious way; None where there is none for this input, or where the method draws."""
    change = question.inputs - question.baselines
    rows = range(len(question.inputs))
    if name in ("saliency", "input_x_gradient"):
        found = torch.cat([slopes(question, question.inputs[row : row + 1], row) for row in rows])
        return found.abs() if name == "saliency" else change * found
    if name == "integrated_gradients":
        places = ((torch.arange(PLACES) + 0.5) / PLACES).view(-1, *[1] * (change.dim() - 1)).to(change)
        ways = [question.baselines[row] + places * change[row] for row in rows]
        return change * torch.stack(
            [slopes(question, way, row).mean(dim=0) for row, way in zip(rows, ways, strict=True)]
        )
    if question.inputs.dim() > 2 or name not in ("ablation", "occlusion", "shapley", "kernel_shap"):
        return None
    values = torch.zeros_like(question.inputs)
    for row in rows:
        scored, units = coalitions(question, row), question.present.shape[1]
        for unit in range(units):
            for keep, score in scored.items():
                if not keep[unit]:
                    continue
                without = scored[tuple(there and place != unit for place, there in enumerate(keep))]
                size = sum(keep) - 1
                alone = float(size == units - 1)
                shared = 1 / (units * math.comb(units - 1, size))
                values[row, unit] += (score - without) * (shared if "shap" in name else alone)
    return values


WITHOUT = OF_LAYER | OF_NEURON
"""Methods that ask for a layer or a neuron; the questions here are about neither."""
RIGHT = {"integrated_gradients": 0.05, "saliency": 1e-4, "input_x_gradient": 1e-4}
"""As a part of the largest value: steps end at 5 %, and differences round."""


def said(method: str, question: Question) -> Tensor | str:
    try:
        return explain(method, question)
    except ValueError as error:
        return str(error)


def is_refused(method: str, question: Question) -> bool:
    """Whether it is, with the method to take instead; what is not refused is right, where there is an oracle."""
    found = said(method, question)
    if isinstance(found, str):
        assert "take " in found or "no method" in found
        return True
    right = oracle(method, question)
    if right is not None:
        error = float((found - right).abs().max() / right.abs().max().clamp(min=1e-9))
        assert error <= RIGHT.get(method, 1e-6 if method != "kernel_shap" else 0.35), (method, error)
    return False


@pytest.mark.parametrize("name", TRAPS)
def test_on_a_trap_every_method_is_right_or_refused(name: str) -> None:
    trap, question = TRAPS[name], of_trap(TRAPS[name])
    refused: set[str] = set()
    for method in METHODS:
        if is_refused(method, question):
            refused.add(method)
    wanted = {*METHODS} if trap.refused == EVERY else trap.refused | (CAM if trap.shape == ROWS else set())
    assert refused == wanted | WITHOUT


ABOVE = {"a relu used twice": "2", "rounding that hides": "first"}
"""Traps, and the layer below what makes them one."""
BELOW = {
    **{name: "0" for name in ("hooks of somebody else", "maxpool with a noisy baseline", "maxpool before relu")},
    **{name: "0" for name in ("gelu", "silu", "relu6", "mish", "hardswish", "tanh", "gelu after relu", "layer norm")},
    "softmax at the end": "0.0",
    **{name: "first" for name in ("relu as a function", "relu as a method", "rounding")},
    **{name: "first" for name in ("a gradient by hand", "infinite gradient")},
    **{name: "first" for name in ("no gradient at all", "not finite at the baseline", "clamp instead of relu")},
    **{name: "conv" for name in ("maxpool as a function", "a last convolution that leads nowhere")},
}


@pytest.mark.parametrize(
    ("name", "layer"),
    [*ABOVE.items(), *(pytest.param(*others, marks=pytest.mark.slow) for others in BELOW.items())],
)
def test_on_a_trap_every_method_of_a_layer_and_of_a_neuron_is_right_or_refused(name: str, layer: str) -> None:
    question = of_trap(TRAPS[name])
    for posed, others in ((at_layer(question, layer), OF_NEURON), (of_neuron(question, layer, (0,)), OF_LAYER)):
        answered = {method for method in METHODS if not is_refused(method, posed)}
        assert not answered & others
        assert {"shapley", "ablation"} <= answered or name == "not finite at the baseline"


@pytest.mark.parametrize("name", CLEAN)
def test_on_a_clean_model_nothing_is_refused_and_deep_lift_adds_up(name: str) -> None:
    make, shape = CLEAN[name]
    question = asked(make, shape)
    probe = probed(question)
    assert {method for method in METHODS if probe.objection(method)} == (CAM if shape == ROWS else set()) | WITHOUT
    assert question.task is not None
    assert question.background is not None
    whole = torch.cat([scores(question, question.inputs[row : row + 1], row) for row in range(COUNT)])
    bases = {"deep_lift": question.baselines[:, None], "deep_lift_shap": [question.background] * COUNT}
    for method, ends in bases.items():
        below = torch.stack([scores(question, end, row).mean() for row, end in enumerate(ends)])
        deep = METHODS[method].explain(question).flatten(1).sum(dim=1)
        torch.testing.assert_close(deep, whole - below, rtol=0, atol=1e-6)


class Shifted(nn.Module):
    """Gives what a model gives, on top of a number so large that single precision has little room for it."""

    def __init__(self, inside: nn.Module, by: float) -> None:
        super().__init__()
        self.inside, self.by = inside, nn.Parameter(torch.tensor(by))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.inside(inputs) + self.by


def test_large_activations_are_no_reason_to_refuse_gradients_and_one_to_refuse_differences() -> None:
    removal = {"occlusion", "ablation", "shapley", "kernel_shap", "lime"}
    found: dict[float, set[str]] = {}
    for by in (0.0, 3e6):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), Shifted(nn.Linear(8, 8), by), Shifted(nn.Linear(8, 3), by))
        question = to_model(model, noise(COUNT, 6), baselines=noise(COUNT, 6, seed=1), background=noise(2, 6, seed=2))
        probe = probed(question)
        found[by] = {method for method in METHODS if probe.objection(method)}
        before = [weight.dtype for weight in model.parameters()]
        gradients = explain("integrated_gradients", question)
        deep = explain("deep_lift", question)
        assert before == [torch.float32] * len(before)
        exact = to_model(
            model.double(),
            question.inputs.double(),
            baselines=question.baselines.double(),
            decisions=model(question.inputs.double()).argmax(dim=1),
            tolerance=1e-6,
        )
        torch.testing.assert_close(gradients.double(), explain("integrated_gradients", exact), rtol=0.05, atol=0.05)
        torch.testing.assert_close(deep.double(), explain("deep_lift", exact), rtol=1e-3, atol=1e-4)
    assert found[3e6] == found[0.0] | removal
    assert probe.objection("shapley").startswith("the score is so large that float32 rounds away")


def test_a_score_that_is_finite_in_double_precision_alone_is_explained_by_no_method() -> None:
    model = nn.Sequential(nn.Linear(6, 3), nn.Hardtanh(-1e38, 1e38), nn.Linear(3, 3))
    with torch.no_grad():
        model[0].weight *= 1e37
        model[2].weight.fill_(100)
    question = to_model(model, 100 * noise(COUNT, 6), decisions=torch.zeros(COUNT, dtype=torch.long))
    assert {probed(question).objection(method) for method in METHODS} == {
        "the score is not finite, so no method can explain it"
    }


@pytest.mark.parametrize("name", ["rounding", "rounding that hides", "a gradient by hand", "a part that is detached"])
def test_a_trap_in_single_precision_is_one_in_double_precision(name: str) -> None:
    torch.manual_seed(1)
    question = to_model(TRAPS[name].make(), 2 * noise(COUNT, 6), baselines=noise(COUNT, 6, seed=1))
    assert "unexplained" in probed(question).objection("integrated_gradients")


def test_there_are_enough_of_both() -> None:
    assert len(TRAPS) >= 20
    assert len(CLEAN) >= 20


def test_the_names_of_hooks_are_those_of_this_torch() -> None:
    layer = nn.Linear(2, 2)
    assert all(not vars(layer)[kind] for kind in _graph.BACKWARD_HOOKS)
    layer.register_full_backward_hook(lambda module, given, output: None)
    layer.register_full_backward_pre_hook(lambda module, output: None)
    assert all(vars(layer)[kind] for kind in _graph.BACKWARD_HOOKS)


def test_a_compiled_model_has_no_layers_to_hook() -> None:
    model: Any = torch.compile(nn.Sequential(nn.Linear(6, 3)), backend="eager")
    assert any(_graph.COMPILED in name.split(".") for name, _ in model.named_modules())
