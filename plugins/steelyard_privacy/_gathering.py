# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""The per-example gradients of one backward pass, made layer by layer while it runs.

A layer's gradients are made as soon as the gradient of its output is known, while that is still in the cache, and those
of a convolution when it is over where they take more memory than what they are made of. What is no longer needed then
goes at once, so that the peak of memory stays near that of ordinary training.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from steelyard_privacy._comparison import Comparison
from steelyard_privacy._recording import Call, Record
from steelyard_privacy._shares import SMALL, Bundle, Instantiated, Reordered, Share
from steelyard_privacy._units import Unit, Unsplit

Rule = Callable[[Call, Tensor, bool], Sequence[Share]]
"""A call, the gradient of its output, and whether its weights are used nowhere else -> the gradients of its weights."""
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""Layers whose operation needs much memory beside its result, and whose gradients are made themselves."""


@final
class Gathering:
    """What is known of the gradients of `count` examples.

    Args:
        record: All calls of layers and units in one forward pass.
        count: Number of examples.
        rule: How the gradients of a layer's weights are found.
        units: By their modules.
        tied: Layers of which some weight is also another layer's.
        order: Where each weight stands in the sum.
        comparison: Told of the ordinary gradients, where they are asked for.

    Attributes:
        shares: The gradients.
        norms: Of the shares, each (count,).
    """

    def __init__(
        self,
        record: Record,
        *,
        count: int,
        rule: Rule,
        units: Mapping[nn.Module, Unit],
        tied: Collection[nn.Module],
        order: Mapping[Parameter, int],
        comparison: Comparison | None = None,
    ) -> None:
        self.shares: list[Share] = []
        self.norms: list[Tensor] = []
        self._calls: list[Call | None] = list(record.calls)
        self._visits = record.visits
        self._outer = [place for place, call in enumerate(record.calls) if not call.inner]
        self._count, self._rule, self._units = count, rule, units
        self._order = order
        called = [call.module for call in record.calls]
        # Layers whose gradients another call may add to.
        self._several = (
            tied if len(set(called)) == len(called) else {*tied, *(one for one in called if called.count(one) > 1)}
        )
        self._sums: dict[Parameter, Tensor] = {}
        self._small: list[Instantiated] = []
        self._late: list[tuple[Call, Tensor]] = []
        self._comparison = comparison

    @property
    def edges(self) -> list[Any]:
        """Where gradients have to be asked for: behind every other layer there is one of them."""
        calls = (self._calls[place] for place in self._outer)
        edges = [call.edge for call in calls if call is not None]
        return edges + [edge for visit in self._visits for edge in visit.edges]

    def __enter__(self) -> None:
        """From now on a backward pass brings the gradients of the other layers."""
        self._handles: list[Any] = []
        for place, call in enumerate(self._calls):
            if call is not None and call.inner:
                node, number = call.edge.node, call.edge.output_nr
                if isinstance(call.module, CONVOLUTIONS):
                    # Afterwards, when the memory that the operation itself needs is free again.
                    self._handles.append(node.register_hook(self._follower(place, number)))
                else:
                    self._handles.append(node.register_prehook(self._listener(place, number)))
        if self._comparison is not None:
            self._handles += self._comparison.listeners()

    def __exit__(self, *_: object) -> None:
        # They would keep the graph alive.
        while self._handles:
            self._handles.pop().remove()

    def close(self, backprops: list[Tensor | None]) -> None:
        """Takes the gradients at the edges; the list is emptied on the way.

        Raises:
            Unsplit: If some layer does not see the examples in its first dimension.
        """
        for number, place in enumerate(self._outer):
            back, backprops[number] = backprops[number], None
            if back is not None:
                self._take(place, back)
        start = len(self._outer)
        for visit in self._visits:
            mine, start = backprops[start : start + len(visit.edges)], start + len(visit.edges)
            if any(back is not None for back in mine):
                for parameter, samples in self._units[visit.module].samples(visit, mine, count=self._count).items():
                    self._add_up(parameter, samples)
        while self._late:
            self._make(*self._late.pop())
        for parameter, samples in self._sums.items():
            self._keep(Instantiated(parameter, samples))
        self._sums.clear()
        self._keep_small()

    def bytes(self) -> int:
        """Of the gradients that are there for each example by itself; factors of them are what autograd keeps, too."""
        whole = (share for share in self.shares if isinstance(share, Instantiated | Reordered))
        return sum(share.samples.nbytes for share in whole)

    def _listener(
        self, place: int, number: int
    ) -> Callable[[tuple[Tensor | None, ...]], tuple[Tensor | None, ...] | None]:
        def listen(gradients: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...] | None:
            back, call = gradients[number], self._calls[place]
            if back is None:
                return None
            assert call is not None
            if call.moments is None or back.is_contiguous():
                self._take(place, back)
                return None
            # Group normalisation would copy it into this order, too: once is enough for both.
            back = back.contiguous()
            self._take(place, back)
            return (*gradients[:number], back, *gradients[number + 1 :])

        return listen

    def _follower(self, place: int, number: int) -> Callable[[object, tuple[Tensor | None, ...]], None]:
        def follow(found: object, gradients: tuple[Tensor | None, ...]) -> None:
            back = gradients[number]
            if back is not None:
                self._take(place, back)

        return follow

    def _take(self, place: int, back: Tensor) -> None:
        call, self._calls[place] = self._calls[place], None
        assert call is not None
        count, inputs, outputs = self._count, call.inputs.shape, call.shape
        if not (inputs and outputs and inputs[0] == outputs[0] == count):
            raise Unsplit("a layer does not see the examples in its first dimension")
        back = back.view(outputs) if back.shape != outputs else back
        if isinstance(call.module, CONVOLUTIONS) and _is_better_late(call, back):
            self._late.append((call, back))
        else:
            self._make(call, back)

    def _make(self, call: Call, back: Tensor) -> None:
        alone = call.module not in self._several
        for share in self._rule(call, back, alone):
            if alone or type(share) is not Instantiated:
                self._keep(share)
            else:
                self._add_up(share.parameter, share.samples)

    def _keep(self, share: Share) -> None:
        if type(share) is Instantiated and share.samples.numel() <= SMALL:
            self._small.append(share)
        else:
            self._know(share)

    def _know(self, share: Share) -> None:
        self.shares.append(share)
        self.norms.append(share.norms())
        if self._comparison is not None:
            self._comparison.know(share, self.norms[-1])

    def _keep_small(self) -> None:
        """One norm and one sum for all of them; a single one has nothing to gain."""
        by_dtype: dict[torch.dtype, list[Instantiated]] = {}
        # Those that are next to each other in the sum are added to it at once.
        for share in sorted(self._small, key=lambda share: self._order[share.parameter]):
            by_dtype.setdefault(share.samples.dtype, []).append(share)
        self._small.clear()
        for alike in by_dtype.values():
            self._know(alike[0] if len(alike) == 1 else Bundle.of(alike))

    def _add_up(self, parameter: Parameter, samples: Tensor) -> None:
        # A parameter that is used more than once, also by different layers, adds up before it is clipped.
        before = self._sums.get(parameter)
        self._sums[parameter] = samples if before is None else before + samples


def _is_better_late(call: Call, back: Tensor) -> bool:
    """Whether the gradients take more memory than what they are made of: when all is over, most of it is free."""
    layer: Any = call.module
    return layer.weight.numel() * len(back) > call.inputs.numel() + back.numel()
