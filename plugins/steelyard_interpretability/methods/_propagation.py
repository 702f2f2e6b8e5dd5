# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Layer-wise relevance propagation as a changed backward pass: rules are hung on the nodes of the backward graph.

Relevance is the value times the gradient, so a rule is what a node makes of the gradient. What a node has kept of its
forward pass goes by private names (`_saved_self`; seen on torch 2.13.0, and a test says when they change).
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from steelyard_interpretability.methods._graph import SUFFIX

SMALL = 1e-6
"""Where a function's argument is so near to 0, its slope stands for value over argument."""
HALVED = frozenset({"Mul", "Mm", "Bmm", "Baddbmm", "Addmm"})
"""Products: where both factors depend on the input, each gets half (Achtibat et al. 2024, proposition 3.3)."""
ATTENTION = "ScaledDotProduct"
Hook = Callable[[Any, Any], Any]
"""Gradients of a node's inputs, and of its outputs -> the inputs' in their place."""


def _of(function: Callable[..., Tensor]) -> Callable[[Any], tuple[Tensor, Tensor]]:
    return lambda node: (node._saved_self, function(node._saved_self))


FUNCTIONS: Mapping[str, Callable[[Any], tuple[Tensor, Tensor]]] = {
    "Gelu": lambda node: (node._saved_self, F.gelu(node._saved_self, approximate=node._saved_approximate)),
    "Silu": _of(F.silu),
    "Mish": _of(F.mish),
    "Hardswish": _of(F.hardswish),
    "Hardtanh": lambda node: (
        node._saved_self,
        F.hardtanh(node._saved_self, min_val=node._saved_min_val, max_val=node._saved_max_val),
    ),
    "Tanh": lambda node: (node._saved_result.atanh(), node._saved_result),
}
"""Functions with value 0 at 0: relevance goes through as it is, so the gradient becomes value over argument."""
AS_THEY_ARE = frozenset({"Relu", "LeakyRelu", "MaxPool2DWithIndices", "MaxPool3DWithIndices", "Softmax"})
"""The gradient itself is the rule; of softmax by its expansion (Achtibat et al. 2024, proposition 3.1)."""


def ruled(root: Any, leaf: Any) -> None:
    """Hangs the rules on all nodes between a score's and the inputs'; they live as long as the graph.

    Args:
        root: `grad_fn` of the score.
        leaf: That of the inputs.
    """
    below: dict[Any, bool] = {leaf: True}
    todo: list[tuple[Any, bool]] = [(root, False)]
    while todo:
        node, done = todo.pop()
        parents = [parent for parent, _ in node.next_functions]
        if not done:
            if node not in below:
                below[node] = False
                todo.append((node, True))
                todo += [(parent, False) for parent in parents if parent is not None and parent not in below]
            continue
        depends = [parent is not None and below[parent] for parent in parents]
        below[node] = any(depends)
        if below[node]:
            _hang(node, depends)


def _hang(node: Any, depends: list[bool]) -> None:
    name = SUFFIX.sub("", node.name())
    if name in FUNCTIONS:
        node.register_hook(_first(lambda slope, above: _ratio(node, name, slope, above)))
    elif name == "NativeLayerNorm":
        node.register_hook(_first(lambda slope, above: _normalised(node, above)))
    elif name == "NativeGroupNorm":
        node.register_hook(_first(lambda slope, above: _normalised_by_group(node, above)))
    elif name in HALVED and sum(depends) > 1:
        node.register_hook(_scaled((0.5,) * len(depends)))
    elif name.startswith(ATTENTION):
        query, key, value = depends[:3]
        outer = 0.5 if (query or key) and value else 1.0
        inner = outer * (0.5 if query and key else 1.0)
        node.register_hook(_scaled((inner, inner, outer, *(1.0,) * (len(depends) - 3))))


def _first(rule: Callable[[Tensor, Tensor], Tensor]) -> Hook:
    """Another gradient of a node's first input: made of the plain one and the gradient from above."""

    def hook(inputs: Any, outputs: Any) -> Any:
        return (rule(inputs[0], outputs[0]), *inputs[1:])

    return hook


def _scaled(parts: tuple[float, ...]) -> Hook:
    def hook(inputs: Any, outputs: Any) -> Any:
        return tuple(None if one is None else one * part for one, part in zip(inputs, parts, strict=True))

    return hook


def _ratio(node: Any, name: str, slope: Tensor, above: Tensor) -> Tensor:
    """The gradient where a function is taken to be linear through 0."""
    with torch.no_grad():
        given, found = FUNCTIONS[name](node)
        near = given.abs() < SMALL
        return torch.where(near, slope, above * found / torch.where(near, 1.0, given))


def _normalised(node: Any, above: Tensor) -> Tensor:
    """The gradient of layer normalisation with the deviation held."""
    with torch.no_grad():
        weight = node._saved_weight
        inside = above * node._saved_result2
        inside = inside if weight is None else inside * weight
        return inside - inside.mean(dim=tuple(range(-len(node._saved_normalized_shape), 0)), keepdim=True)


def _normalised_by_group(node: Any, above: Tensor) -> Tensor:
    """The gradient of group normalisation (N, C, ...) with the deviations held."""
    with torch.no_grad():
        weight = node._saved_weight
        inside = above if weight is None else above * weight.view(1, -1, *[1] * (above.dim() - 2))
        groups = inside.reshape(len(above), node._saved_group, -1) * node._saved_result2[:, :, None]
        return (groups - groups.mean(dim=2, keepdim=True)).view_as(above)


def has_rule(name: str) -> bool:
    """Whether there is a rule for an operation that is no sum."""
    return name in {*FUNCTIONS, *AS_THEY_ARE, "NativeLayerNorm", "NativeGroupNorm"} or name.startswith(ATTENTION)
