# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""What goes into layers and where in the graph it comes out, while a task's step runs."""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map_only, tree_unflatten

from steelyard_privacy._moments import Moments, moments_of

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
NORMS = (nn.GroupNorm, nn.LayerNorm)
NEAR = 64
"""So many operations are looked through."""


class Call(NamedTuple):
    """One call of a layer; a tuple, since a frozen dataclass takes longer to make than an operation on few numbers.

    Attributes:
        module: The layer.
        inputs: What went in, detached.
        edge: Where the gradient of what came out is found.
        shape: Shape of what came out.
        inner: Whether the input follows, in the graph, from another of the calls or visits.
        moments: What a norm layer has found of its input; None of other layers.
    """

    module: nn.Module
    inputs: Tensor
    edge: GradientEdge
    shape: torch.Size
    inner: bool
    moments: Moments | None


@dataclass(frozen=True, slots=True)
class Visit:
    """One call of a unit.

    Attributes:
        module: The unit's module.
        args: What went in by position, detached.
        kwargs: What went in by name, detached.
        edges: Where the gradients of what came out are found.
        places: Which of the tensors that came out these are.
        outputs: They themselves, detached.
    """

    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    edges: tuple[GradientEdge, ...]
    places: tuple[int, ...]
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """What happened, in order."""

    calls: list[Call]
    visits: list[Visit]

    def bytes(self) -> int:
        """Of the inputs of layers: part of what autograd keeps of a forward pass."""
        inside = (tree_leaves((visit.args, visit.kwargs)) for visit in self.visits)
        leaves = [*(call.inputs for call in self.calls), *chain.from_iterable(inside)]
        return sum(leaf.nbytes for leaf in leaves if isinstance(leaf, Tensor))


@final
class Recording:
    """While it is entered, every call of some modules that takes part in a graph is noted.

    Args:
        layers: Of which only the input is kept.
        units: Of which everything is kept.
    """

    def __init__(self, layers: Collection[nn.Module], units: Collection[nn.Module] = ()) -> None:
        self._layers, self._units = layers, units
        self._handles: list[Any] = []
        self._begin()

    def _begin(self) -> None:
        self._calls: list[Call] = []
        self._visits: list[Visit] = []
        self._nodes: set[Node] = set()

    def __enter__(self) -> Record:
        handles, call, visit = self._handles, self._call, self._visit
        for layer in self._layers:
            handles.append(layer.register_forward_hook(call, with_kwargs=True, prepend=True))
        for unit in self._units:
            handles.append(unit.register_forward_hook(visit, with_kwargs=True, prepend=True))
        return Record(self._calls, self._visits)

    def __exit__(self, *_: object) -> None:
        while self._handles:
            self._handles.pop().remove()
        # The record is all that may keep the graph alive.
        self._begin()

    def _call(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> Tensor | None:
        if not output.requires_grad:
            return None
        inputs: Tensor = args[0] if args else kwargs["input"]
        edge = steady(output)
        given = None
        if edge is None:
            given = output.clone()
            edge = get_gradient_edge(output)
        nodes = self._nodes
        inner = follows(inputs.grad_fn, nodes)
        nodes.add(edge.node)
        moments = moments_of(edge.node) if type(module) in NORMS else None
        self._calls.append(Call(module, inputs.detach(), edge, output.shape, inner, moments))
        return given

    def _visit(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        leaves, spec = tree_flatten(output)
        live = [place for place, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.requires_grad]
        if not live:
            return None
        # Copies go on: no change in place reaches the outputs, and what one gave to another is not counted twice.
        copies = {place: leaves[place].clone() for place in live}
        edges = tuple(get_gradient_edge(copy) for copy in copies.values())
        self._nodes.update(edge.node for edge in edges)
        outputs = tuple(leaves[place].detach() for place in live)
        args, kwargs = tree_map_only(Tensor, Tensor.detach, (args, kwargs))
        self._visits.append(Visit(module, args, kwargs, edges, tuple(live), outputs))
        return tree_unflatten([copies.get(place, leaf) for place, leaf in enumerate(leaves)], spec)


def follows(node: Node | None, nodes: Collection[Node]) -> bool:
    """Whether one of some nodes is found behind this one, near by: a gradient that is asked for there passes here."""
    if node is None or not nodes:
        return False
    waiting: list[Node | None] = [node]
    seen = 0
    while waiting and seen < NEAR:
        node = waiting.pop()
        if node is not None:
            if node in nodes:
                return True
            seen += 1
            waiting.extend(behind for behind, _ in node.next_functions)
    return False


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
