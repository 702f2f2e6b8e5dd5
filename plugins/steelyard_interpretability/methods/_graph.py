# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
"""What a score is made of: the steps of its backward graph that depend on the inputs, and the layers that took part.

Two touches are of private parts (seen on torch 2.13.0, and a test says when they change): the dictionaries in which a
module keeps its backward hooks, and the name that a compiled module gives to what it wraps.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from steelyard._untyped import named_modules
from steelyard_interpretability.methods.question import Question

BACKWARD_HOOKS = ("_backward_hooks", "_backward_pre_hooks")
COMPILED = "_orig_mod"
SUFFIX = re.compile(r"Backward\d*$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """One forward pass of some examples.

    Attributes:
        steps: Name of an operation, as torch calls it without "Backward0" -> how often it stands on the inputs' way.
        products: Those operations in which both factors depend on the inputs.
        calls: Name of a layer that was called on the inputs' way -> how often; where it gives no single tensor, at all.
        layers: All layers by name.
        hooked: Layers that carried backward hooks before anybody explained.
        compiled: Whether a part of the model is compiled, so that hooks on its layers are not called.
    """

    steps: Mapping[str, int]
    products: frozenset[str]
    calls: Mapping[str, int]
    layers: Mapping[str, nn.Module]
    hooked: tuple[str, ...]
    compiled: bool


def traced(question: Question) -> Graph | None:
    """The graph of the score of a question's examples; None where the score carries no gradient."""
    layers = {} if question.task is None else named_modules(question.task)
    seen: list[tuple[str, Any]] = []

    def note(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, given: Any, output: Any) -> None:
            seen.append((name, getattr(output, "grad_fn", None)))

        return hook

    hooked = tuple(name for name, layer in layers.items() if any(vars(layer)[kind] for kind in BACKWARD_HOOKS))
    handles = [layer.register_forward_hook(note(name)) for name, layer in layers.items()]
    try:
        start = question.inputs.detach().clone().requires_grad_().clone()
        score = question.score(start, question.rows())
    finally:
        for handle in handles:
            handle.remove()
    root, leaf = score.grad_fn, start.grad_fn
    if root is None or leaf is None:
        return None
    steps, products, way = _walk(root, leaf)
    # A layer beside the way, or below the layer that is asked about, does nothing on it.
    calls = Counter(name for name, made in seen if made is None or made in way)
    return Graph(
        steps=steps,
        products=frozenset(products),
        calls=calls,
        layers=layers,
        hooked=hooked,
        compiled=any(COMPILED in name.split(".") for name in layers),
    )


def reaches(question: Question, layer: nn.Module) -> bool:
    """Whether the score's gradient reaches what a layer gives."""
    seen: list[Any] = []

    def hook(module: nn.Module, given: Any, output: Any) -> None:
        seen.append(output)

    handle = layer.register_forward_hook(hook)
    try:
        score = question.score(question.inputs.detach().clone().requires_grad_().clone(), question.rows())
    finally:
        handle.remove()
    found: Any = torch.autograd.grad(score.sum(), seen[-1:], allow_unused=True)[0]
    return found is not None and bool((found != 0).any())


def _walk(root: Any, leaf: Any) -> tuple[Counter[str], set[str], set[Any]]:
    """Operations between the two ends, each node once, those with two factors on the way, and the nodes themselves."""
    below: dict[Any, int] = {leaf: 1}
    todo: list[tuple[Any, bool]] = [(root, False)]
    steps: Counter[str] = Counter()
    products: set[str] = set()
    while todo:
        node, done = todo.pop()
        parents = [parent for parent, _ in node.next_functions if parent is not None]
        if not done:
            if node not in below:
                below[node] = 0
                todo.append((node, True))
                todo += [(parent, False) for parent in parents if parent not in below]
            continue
        below[node] = sum(below[parent] > 0 for parent in parents)
        if below[node]:
            name = SUFFIX.sub("", node.name())
            steps[name] += 1
            if below[node] > 1:
                products.add(name)
    return steps, products, {node for node, count in below.items() if count}
