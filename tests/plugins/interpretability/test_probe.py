"""No silent wrong answers: on every model of the zoo each method is right, or is refused with a reason."""

import copy
import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from model_zoo import CLEAN, EVERY, ROWS, TRAPS, Trap
from questions_to_models import noise, to_model
from steelyard_interpretability.methods import _graph
from steelyard_interpretability.methods.probe import probed
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


RIGHT = {"integrated_gradients": 0.05, "saliency": 1e-4, "input_x_gradient": 1e-4}
"""As a part of the largest value: steps end at 5 %, and differences round."""


def said(method: str, question: Question) -> Tensor | str:
    try:
        return explain(method, question)
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize("name", TRAPS)
def test_on_a_trap_every_method_is_right_or_refused(name: str) -> None:
    trap, question = TRAPS[name], of_trap(TRAPS[name])
    refused: set[str] = set()
    for method in METHODS:
        found = said(method, question)
        if isinstance(found, str):
            assert "take " in found or "no method" in found
            refused.add(method)
            continue
        right = oracle(method, question)
        if right is not None:
            error = float((found - right).abs().max() / right.abs().max().clamp(min=1e-9))
            assert error <= RIGHT.get(method, 1e-6 if method != "kernel_shap" else 0.35), (method, error)
    wanted = {*METHODS} if trap.refused == EVERY else trap.refused | ({"grad_cam"} if trap.shape == ROWS else set())
    assert refused == wanted


def guided(model: nn.Module, question: Question) -> Tensor:
    """Guided backpropagation by another way: layers that pass on what is positive, in a copy."""

    class Passing(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, inputs: Tensor) -> Tensor:
            ctx.save_for_backward(inputs)
            return inputs.relu()

        @staticmethod
        def backward(ctx: Any, *grad: Tensor) -> Tensor:
            return grad[0].clamp(min=0) * (ctx.saved_tensors[0] > 0)

    class Guided(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return Passing.apply(inputs)

    twin = copy.deepcopy(model)
    for name, layer in [*twin.named_modules()]:
        if isinstance(layer, nn.ReLU):
            parent, _, last = name.rpartition(".")
            setattr(twin.get_submodule(parent), last, Guided())
    leaf = question.inputs.clone().requires_grad_()
    chosen = torch.tensor([0, 1, 2])
    return torch.autograd.grad(twin(leaf).gather(1, chosen[:, None]).sum(), leaf)[0]


@pytest.mark.parametrize("name", CLEAN)
def test_on_a_clean_model_nothing_is_refused_and_layers_are_right(name: str) -> None:
    make, shape = CLEAN[name]
    question = asked(make, shape)
    probe = probed(question)
    assert {method: probe.objection(method) for method in METHODS if probe.objection(method)}.keys() == (
        {"grad_cam"} if shape == ROWS else set()
    )
    assert question.task is not None
    deep = METHODS["deep_lift"].explain(question)
    difference = torch.cat(
        [
            scores(question, end[row : row + 1], row)
            for end in (question.inputs, question.baselines)
            for row in range(COUNT)
        ]
    )
    torch.testing.assert_close(deep.flatten(1).sum(dim=1), difference[:COUNT] - difference[COUNT:], rtol=0, atol=1e-6)
    torch.testing.assert_close(
        METHODS["guided_backprop"].explain(question), guided(question.task, question), rtol=0, atol=1e-9
    )


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
