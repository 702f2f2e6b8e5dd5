# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Sums of clipped gradients, gathered over the pieces of a batch in one flat vector."""

import operator
from collections.abc import Mapping, Sequence
from itertools import accumulate, groupby, pairwise
from typing import Any, NamedTuple, final

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

LARGE = 3 * 2**26
"""Multiplications of a product from which on it may be made in two."""


def trained(optimizer: Optimizer) -> list[Parameter]:
    """The weights that it trains now."""
    return [weight for group in optimizer.param_groups for weight in group["params"] if weight.requires_grad]


class Run(NamedTuple):
    """Some weights that follow each other in the vector.

    Attributes:
        parameters: These.
        place: In the vector.
        size: Of all of them.
    """

    parameters: frozenset[Parameter]
    place: slice
    size: int


@final
class Layout:
    """The weights that are trained, as one flat vector in at least single precision.

    Attributes:
        parameters: In their order in the vector.
        order: Which place each of them has in it.
        sizes: How many numbers each of them has.
        dtype: Of the vector.
        device: Of the vector.
        size: Of the vector.
    """

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        self.parameters = tuple(parameters)
        self.order = {parameter: place for place, parameter in enumerate(self.parameters)}
        self.device = self.parameters[0].device
        self.dtype = torch.float32
        for parameter in self.parameters:
            self.dtype = torch.promote_types(self.dtype, parameter.dtype)
        self.sizes = tuple(parameter.numel() for parameter in self.parameters)
        ends = list(accumulate(self.sizes, initial=0))
        self._places = {
            parameter: slice(*ends) for parameter, ends in zip(self.parameters, pairwise(ends), strict=True)
        }
        self.size = ends[-1]
        self._runs: dict[tuple[Parameter, ...], tuple[Run, ...]] = {}

    def holds(self, parameter: Parameter) -> bool:
        """True for a weight that is trained."""
        return parameter in self._places

    def is_of(self, parameters: Sequence[Parameter]) -> bool:
        """True for the same weights in the same order."""
        return len(parameters) == len(self.parameters) and all(map(operator.is_, parameters, self.parameters))

    def runs(self, parameters: tuple[Parameter, ...]) -> tuple["Run", ...]:
        """Those of some parameters side by side that are also next to each other in the vector."""
        known = self._runs.get(parameters)
        if known is None:
            ahead = [self.order[parameter] - number for number, parameter in enumerate(parameters)]
            groups = (tuple(group) for _, group in groupby(zip(parameters, ahead, strict=True), operator.itemgetter(1)))
            known = self._runs[parameters] = tuple(self._run([one for one, _ in group]) for group in groups)
        return known

    def _run(self, parameters: Sequence[Parameter]) -> "Run":
        first, last = self._places[parameters[0]], self._places[parameters[-1]]
        return Run(frozenset(parameters), slice(first.start, last.stop), last.stop - first.start)

    def zeros(self) -> Tensor:
        """A vector of zeros."""
        return torch.zeros(self.size, dtype=self.dtype, device=self.device)

    def part(self, vector: Tensor, parameter: Parameter) -> Tensor:
        """One parameter's place in the vector, in the parameter's shape."""
        return vector[self._places[parameter]].view(parameter.shape)

    def parts(self, vector: Tensor) -> list[Tensor]:
        """The places of all parameters in the vector, each in its parameter's shape."""
        cut = vector.split(self.sizes)
        return [part.view(parameter.shape) for part, parameter in zip(cut, self.parameters, strict=True)]

    def gradients(self, loss: Tensor) -> dict[Parameter, Tensor]:
        """The ordinary gradient of a scalar, of the weights that it depends on."""
        if not loss.requires_grad:
            return {}
        found = torch.autograd.grad(loss, self.parameters, allow_unused=True)
        pairs: Any = zip(self.parameters, found, strict=True)
        return {parameter: value for parameter, value in pairs if value is not None}


@final
class Sums:
    """A vector to which gradients are added, kept from step to step so that no memory is asked for anew.

    The products of a Linear layer wait until they would take as much memory as the weight itself: one product of many
    rows takes a fraction of the time of many products of few, and a batch that is cut into pieces makes those.

    Args:
        layout: The weights.
        views: What is added to, for each of them; without it, parts of a new vector.
    """

    def __init__(self, layout: Layout, views: Mapping[Parameter, Tensor] | None = None) -> None:
        self.layout = layout
        self._vector: Tensor | None = None
        self._views = views
        self._clean = views is None
        self._patient = True
        self._stale = set[Parameter]()
        self._all = frozenset(layout.parameters)
        self._waiting: dict[Parameter, list[tuple[Tensor, Tensor]]] = {}
        self._bundles: dict[tuple[Parameter, ...], Tensor] = {}
        self._spread: tuple[Tensor, dict[int, Tensor]] | None = None

    def reset(self, *, patient: bool = True) -> None:
        """Begins anew, in the same memory, which is overwritten where it is next added to.

        Args:
            patient: Whether products may wait for others, which costs memory; for a batch in pieces.
        """
        if not self._clean:
            self._stale = set(self._all)
        self._clean, self._patient, self._spread = True, patient, None
        self._waiting.clear()
        self._bundles.clear()

    def let_go(self) -> None:
        """Gives the memory back until it is needed again, where nothing was added since it was begun anew."""
        if self._clean:
            self._vector, self._views = None, None
            self._stale.clear()

    @property
    def clean(self) -> bool:
        """True as long as nothing was added."""
        return self._clean

    @property
    def views(self) -> Mapping[Parameter, Tensor]:
        """The places of all parameters in the sum, each in its parameter's shape."""
        if self._views is None:
            self._vector = self.layout.zeros()
            self._views = dict(zip(self.layout.parameters, self.layout.parts(self._vector), strict=True))
        return self._views

    def view(self, parameter: Parameter) -> Tensor:
        """One parameter's sum, to add to in place."""
        self._clean = False
        view = self.views[parameter]
        return view if self._kept(parameter) else view.zero_()

    def add_reordered(self, parameter: Parameter, values: Tensor, order: Sequence[int]) -> None:
        """Adds numbers in another order of dimensions: `order` says which one of the weight stands at each place."""
        self._clean = False
        values = values.permute([order.index(dimension) for dimension in range(len(order))])
        view = self.views[parameter]
        view.add_(values) if self._kept(parameter) else view.copy_(values)

    def add_rows(self, parameter: Parameter, weights: Tensor, rows: Tensor) -> None:
        """Adds the sum of w_i times row i, of the shapes (n,) and (n, numbers of the weight)."""
        self._clean = False
        self._add(parameter, weights[:, None], rows)

    def add_bundle(self, parameters: tuple[Parameter, ...], weights: Tensor, rows: Tensor) -> None:
        """Adds the sum of w_i times row i, of the shapes (n,) and (n, numbers of the weights side by side)."""
        self._clean = False
        runs = () if self._patient or self._vector is None else self.layout.runs(parameters)
        if len(runs) == 1 and self._stale >= runs[0].parameters and weights.dtype == self.layout.dtype:
            assert self._vector is not None
            torch.mm(weights[None], rows, out=self._vector[None, runs[0].place])
            self._stale -= runs[0].parameters
            return
        # As a product of matrices it counts in an estimate.
        added = torch.mm(weights[None], rows)[0]
        added = added if added.dtype == self.layout.dtype else added.to(self.layout.dtype)
        before = self._bundles.get(parameters)
        self._bundles[parameters] = added if before is None else before.add_(added)

    def spread(self, weights: Tensor, times: int) -> Tensor:
        """Each weight so many times in a row, made once for all layers with as many positions."""
        if self._spread is None or self._spread[0] is not weights:
            self._spread = weights, {}
        known = self._spread[1]
        if times not in known:
            known[times] = weights.repeat_interleave(times)
        return known[times]

    def add_product(self, parameter: Parameter, left: Tensor, right: Tensor) -> None:
        """Adds left^T right of the shapes (rows, p) and (rows, d) to a weight of the shape (p, d)."""
        self._clean = False
        waiting = self._waiting.get(parameter)
        if not self._patient or (not waiting and left.numel() + right.numel() >= parameter.numel()):
            self._add(parameter, left, right)
            return
        waiting = self._waiting.setdefault(parameter, [])
        waiting.append((left, right))
        if sum(part.numel() + other.numel() for part, other in waiting) >= parameter.numel():
            self._multiply(parameter)

    def total(self) -> Tensor:
        """The whole sum, which the next `reset` makes void, and which may be changed."""
        self.finish()
        self._clean = False
        views = self.views
        for parameter in self._stale:
            views[parameter].zero_()
        self._stale.clear()
        assert self._vector is not None
        return self._vector

    def finish(self) -> None:
        """Adds what waits."""
        for parameter in self._waiting:
            self._multiply(parameter)
        for parameters, whole in self._bundles.items():
            self._unpack(parameters, whole)
        self._bundles.clear()
        self._spread = None

    def _unpack(self, parameters: tuple[Parameter, ...], whole: Tensor) -> None:
        views, vector = self.views, self._vector
        if vector is None:
            for parameter, part in zip(parameters, whole.split([one.numel() for one in parameters]), strict=True):
                views[parameter].add_(part.view(parameter.shape))
            return
        runs = self.layout.runs(parameters)
        parts = whole.split([run.size for run in runs]) if len(runs) > 1 else (whole,)
        for run, part in zip(runs, parts, strict=True):
            stale = self._stale & run.parameters
            if len(stale) == len(run.parameters):
                vector[run.place].copy_(part)
            else:
                for parameter in stale:
                    views[parameter].zero_()
                vector[run.place].add_(part)
            self._stale -= stale

    def _multiply(self, parameter: Parameter) -> None:
        waiting = self._waiting[parameter]
        if not waiting:
            return
        left, right = waiting[0] if len(waiting) == 1 else (torch.cat(parts) for parts in zip(*waiting, strict=True))
        self._add(parameter, left, right)
        waiting.clear()

    def _add(self, parameter: Parameter, left: Tensor, right: Tensor) -> None:
        view = self.views[parameter]
        if left.dtype != view.dtype:
            left, right = left.to(view.dtype), right.to(view.dtype)
        view, kept = view.view(left.shape[1], -1), self._kept(parameter)
        if len(left) % 2 and left.shape[1] * right.shape[1] * len(left) > LARGE:
            # MKL takes an eighth longer for an odd number of rows, as one drawn batch in two has.
            torch.addmm(view, left[:1].T, right[:1], beta=kept, out=view)
            left, right, kept = left[1:], right[1:], True
        # In this form the operation counts in an estimate; `addmm_` does not.
        torch.addmm(view, left.T, right, beta=kept, out=view)

    def _kept(self, parameter: Parameter) -> bool:
        """Whether what stands in the weight's place counts; from now on it does."""
        if parameter not in self._stale:
            return True
        self._stale.discard(parameter)
        return False
