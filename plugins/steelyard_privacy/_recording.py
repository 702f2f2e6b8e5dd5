# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""What goes into layers and where in the graph it comes out, while a task's step runs."""

from collections.abc import Collection, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

FRESH = frozenset(
    {
        "AddBackward0",
        "AddmmBackward0",
        "ConvolutionBackward0",
        "EmbeddingBackward0",
        "MmBackward0",
        "MulBackward0",
        "NativeBatchNormBackward0",
        "NativeGroupNormBackward0",
        "NativeLayerNormBackward0",
        "UnsafeViewBackward0",
    }
)
"""Operations whose result is a view of nothing."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a layer.

    Attributes:
        module: The layer.
        inputs: What went in, detached.
        edge: Where the gradient of what came out is found.
        shape: Shape of what came out.
    """

    module: nn.Module
    inputs: Tensor
    edge: GradientEdge
    shape: torch.Size


@contextmanager
def recording(layers: Collection[nn.Module]) -> Generator[list[Call]]:
    """Every call of these layers that takes part in a graph, in order."""
    calls: list[Call] = []

    def record(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> Tensor | None:
        if not output.requires_grad:
            return None
        inputs: Tensor = args[0] if args else kwargs["input"]
        edge = steady(output)
        given = None
        if edge is None:
            given = output.clone()
            edge = get_gradient_edge(output)
        calls.append(Call(module, inputs.detach(), edge, output.shape))
        return given

    handles = [layer.register_forward_hook(record, with_kwargs=True, prepend=True) for layer in layers]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def steady(output: Tensor) -> GradientEdge | None:
    """A place in the graph that keeps the gradient of this output, whatever changes the output in place afterwards.

    An operation in place puts a new node behind the old one, except on a view: there it cuts the view's node off and
    keeps that of the tensor behind the view.

    Returns:
        None for what is not known: the caller hands on a copy, which no change of reaches the original.
    """
    edge = get_gradient_edge(output)
    name = edge.node.name()
    if name in FRESH:
        return edge
    if name != "ViewBackward0":
        return None
    node, number = edge.node.next_functions[0]
    return GradientEdge(node, number) if node is not None and node.name() in FRESH else None
