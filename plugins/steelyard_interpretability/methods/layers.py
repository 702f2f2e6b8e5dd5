# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
"""A layer of the model: what it gives, what the score makes of it, and whether one may speak of it at all."""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from steelyard._untyped import named_modules
from steelyard.problem import Problem
from steelyard.registry import did_you_mean
from steelyard_interpretability.methods._graph import COMPILED
from steelyard_interpretability.methods.question import Question

DEPTH = 2 / 3
"""Where among the layers below the last one the default lies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a layer gives for N examples.

    Attributes:
        activations: (N, ...).
        gradients: Of the score by each of them (N, ...).
    """

    activations: Tensor
    gradients: Tensor


def no_such_layer(task: nn.Module, name: str, *, option: str) -> Iterator[Problem]:
    """Whether the task has a layer of this name.

    Args:
        task: With its modules.
        name: Of the layer.
        option: As an override names it.
    """
    known = [there for there, module in named_modules(task).items() if there and not _counts(module)]
    if name not in known:
        near = did_you_mean(name, known) or f"; its last ones are {', '.join(known[-8:])}"
        yield Problem(f"the task has no layer {name!r}{near}", fix=f"{option}=null")


def _counts(module: nn.Module) -> bool:
    """Whether it holds the metrics of a task, which give nothing that a decision is made of."""
    return any(isinstance(part, Metric) for part in module.modules()) and not [*module.parameters()]


@contextmanager
def watched(layer: nn.Module) -> Generator[list[Any]]:
    """What the layer gives, call by call."""
    found: list[Any] = []

    def keep(module: nn.Module, given: Any, output: Any) -> None:
        # A copy, since the next layer may work in place.
        found.append(output.clone() if isinstance(output, Tensor) else output)

    handle = layer.register_forward_hook(keep)
    try:
        yield found
    finally:
        handle.remove()


@contextmanager
def replaced(layer: nn.Module, by: Callable[[Any], Any]) -> Generator[None]:
    """The layer gives something else: what `by` makes of its output."""
    handle = layer.register_forward_hook(lambda module, given, output: by(output))
    try:
        yield
    finally:
        handle.remove()


def layer_of(question: Question, name: str) -> nn.Module:
    """The layer of this name, which is called once and gives one tensor with a row for each example.

    Raises:
        ValueError: If one cannot speak of its output as of one thing.
    """
    assert question.task is not None
    layers = named_modules(question.task)
    if name not in layers:
        raise ValueError(f"the model has no layer {name!r}")
    if any(COMPILED in part.split(".") for part in layers):
        raise ValueError("the model is compiled, and hooks on its layers are not called")
    some = question.only(question.rows()[:2])
    with watched(layers[name]) as outputs, torch.no_grad():
        some.score(some.inputs.clone(), some.rows())
    if len(outputs) != 1:
        raise ValueError(f"{name} is called {len(outputs)} times, so there is no one output of it")
    if not isinstance(outputs[0], Tensor) or not outputs[0].is_floating_point():
        raise ValueError(f"{name} gives {type(outputs[0]).__name__}, and not one tensor of numbers")
    if outputs[0].dim() < 2 or len(outputs[0]) != len(some.inputs):
        raise ValueError(f"{name} gives {tuple(outputs[0].shape)} for {len(some.inputs)} examples: no row for each")
    return layers[name]


def seen_at(question: Question, name: str) -> Seen:
    """What a layer gives for the question's examples, and the gradients of the score by it.

    Raises:
        ValueError: If the layer has no one output, or the score does not depend on it.
    """
    layer = layer_of(question, name)
    kept: list[Tensor] = []
    slopes: list[Tensor] = []
    for start in range(0, len(question.inputs), question.at_once):
        rows = question.rows()[start : start + question.at_once]
        cut: list[Tensor] = []

        def loose(output: Tensor, cut: list[Tensor] = cut) -> Tensor:
            cut.append(output.detach().clone().requires_grad_())
            # A copy, since the next layer may work in place.
            return cut[-1].clone()

        with replaced(layer, loose):
            total = question.score(question.inputs[rows].clone(), rows).sum()
        (slope,) = torch.autograd.grad(total, cut, allow_unused=True) if total.requires_grad else (None,)
        if slope is None:
            raise ValueError(f"the score does not depend on {name}")
        kept.append(cut[-1].detach())
        slopes.append(slope)
    return Seen(activations=torch.cat(kept), gradients=torch.cat(slopes))


def chosen_layer(question: Question) -> str:
    """About two thirds up among the layers below the last one that all of the score goes through.

    Raises:
        ValueError: If there is none.
    """
    assert question.task is not None
    some = question.only(question.rows()[:2])
    order: list[str] = []
    heads: list[int] = []

    def note(name: str, layer: nn.Module) -> Any:
        def hook(module: nn.Module, given: Any, output: Any) -> None:
            order.append(name)
            if not [*layer.children()] and [*layer.parameters()]:
                heads.append(len(order))

        return layer.register_forward_hook(hook)

    layers = named_modules(question.task)
    handles = [note(name, layer) for name, layer in layers.items()]
    try:
        with torch.no_grad():
            some.score(some.inputs.clone(), some.rows())
    finally:
        for handle in handles:
            handle.remove()
    below = order[: heads[-1] - 1] if heads else order
    middle = int(DEPTH * len(below))
    for name in sorted(dict.fromkeys(below), key=lambda name: abs(below.index(name) - middle)):
        try:
            layer_of(some, name)
        except ValueError:
            continue
        if _all_of_it(some, layers[name]):
            return name
    raise ValueError("the model has no layer below its last one that all of the score goes through")


def _all_of_it(question: Question, layer: nn.Module) -> bool:
    """Whether the score depends on the inputs through this layer alone."""
    start = question.inputs.detach().clone().requires_grad_()

    def cut(output: Tensor) -> Tensor:
        return output.detach().requires_grad_()

    with replaced(layer, cut):
        score = question.score(start.clone(), question.rows())
    if not score.requires_grad:
        return False
    found: Any = torch.autograd.grad(score.sum(), start, allow_unused=True)[0]
    return found is None or not bool((found != 0).any())
