# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Engines: the sum of the clipped per-example gradients of a batch, for any task with a scalar loss.

An engine sees nothing but the task's own training step. Each leaves the task as it found it, also after an exception.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from steelyard_privacy._batches import take
from steelyard_privacy._clipping import coefficients
from steelyard_privacy._comparison import Comparison, NotCovered
from steelyard_privacy._layers import Layers
from steelyard_privacy._packing import make_buffer
from steelyard_privacy._shares import Share
from steelyard_privacy._sums import Layout, Sums
from steelyard_privacy._units import Unsplit
from steelyard_privacy.dp_sgd import Way

Objective = Callable[[Any], Tensor | None]
"""A batch -> the mean loss of its examples; None where the task skips the batch."""
NOTHING = nullcontext()
SPARE = 2**22
"""Bytes of layers' inputs that more examples than expected may take before they are worked on in pieces. These cost a
CNN a twentieth of such a step; on the other side, each example takes several times its inputs."""
HEAVY, MUCH = 2**22, 1 / 3
"""Bytes of gradients of single examples in an expected batch, and their part of the layers' inputs, from which on it is
worked on in pieces."""
PART, TIMES, LEAST = 0.9, 2.0, 0.5
"""The largest piece, as a part of an expected batch: the first, or so much that these gradients take so many times the
layers' inputs of an expected batch, but at least the last. A CNN then takes a quarter less memory; seven in ten of its
batches are cut, and take a twentieth longer."""
Weighing = Callable[[Tensor], Tensor]
"""Norms of the per-example gradients (n,) -> what each gradient is multiplied by (n,)."""


class Engine(ABC):
    """Adds up per-example gradients."""

    @abstractmethod
    def add(self, sums: Sums, batch: Any, *, count: int, objective: Objective, weighing: Weighing) -> Tensor:
        """Adds the sum over the batch's `count` examples of weight times gradient; those of weight 0 are left out.

        Returns:
            The norms of the gradients, (count,).
        """

    @final
    def add_clipped(self, sums: Sums, batch: Any, *, count: int, objective: Objective, max_norm: float) -> Tensor:
        """The same with each gradient clipped to `max_norm` (Abadi et al. 2016, algorithm 1)."""
        return self.add(
            sums, batch, count=count, objective=objective, weighing=lambda norms: coefficients(norms, max_norm=max_norm)
        )


@final
class MicrobatchEngine(Engine):
    """One example at a time: exact for every task, and the oracle of the faster engine."""

    def add(self, sums: Sums, batch: Any, *, count: int, objective: Objective, weighing: Weighing) -> Tensor:
        """See `Engine`."""
        layout = sums.layout
        norms = torch.zeros(count, dtype=layout.dtype, device=layout.device)
        for index in range(count):
            loss = objective(take(batch, slice(index, index + 1)))
            if loss is None:
                continue
            gradient = layout.gradients(loss)
            if gradient:
                lengths = [torch.linalg.vector_norm(part, dtype=layout.dtype) for part in gradient.values()]
                norms[index] = torch.linalg.vector_norm(torch.stack(lengths))
            weight = weighing(norms[index : index + 1])[0]
            if weight != 0:
                while gradient:
                    parameter, part = gradient.popitem()
                    view = sums.view(parameter)
                    # Nothing of a weight's size is made beside the gradient.
                    view.addcmul_(part if part.dtype == view.dtype else part.to(view.dtype), weight)
        return norms


@final
class HookEngine(Engine):
    """One forward and one backward pass: per-example gradients from the inputs and output gradients of the layers.

    The backward pass makes no gradient of a weight: norms come from the factors of each layer's gradient, and the
    clipped sum from the same factors once the norms are known ("book-keeping", Bu et al. 2023).

    Args:
        task: The module whose layers are looked at, only while an objective runs.
        layout: The trained weights.
        ways: See `Layers`.
    """

    def __init__(self, task: nn.Module, layout: Layout, ways: Mapping[str, Way] = MappingProxyType({})) -> None:
        self._layers = Layers(task, layout, ways)
        make_buffer(task)
        self._layout = layout
        self._steps = 0
        self._each = self._kept = 0.0

    def largest(self, expected: int) -> int:
        """How many examples may be worked on at once so that memory stays near what an ordinary step takes."""
        if self._kept * expected >= HEAVY and self._kept >= MUCH * self._each:
            return max(1, int(max(LEAST, min(PART, TIMES * self._each / self._kept)) * expected))
        return expected + max(expected // 10, int(SPARE / max(1.0, self._each)))

    def described(self) -> list[str]:
        """How the layers are worked on."""
        return self._layers.described()

    def add(self, sums: Sums, batch: Any, *, count: int, objective: Objective, weighing: Weighing) -> Tensor:
        """See `Engine`.

        Raises:
            NotCovered: If a layer does not see one row per example, or the check of the sum fails. Nothing is added.
        """
        layout = self._layout
        with self._layers.recording() as record:
            loss = objective(batch)
        if loss is None or not loss.requires_grad:
            return torch.zeros(count, dtype=layout.dtype, device=layout.device)
        checked = layout.parameters if is_checked(self._steps) or not (record.calls or record.visits) else ()
        comparison = Comparison(checked) if checked else None
        if comparison is not None:
            # Ordinary gradients take the memory of a weight beside all else.
            sums.let_go()
        gathering = self._layers.gathering(record, count=count, comparison=comparison)
        self._each = self._each or record.bytes() / count
        del record
        close = 0.0 if comparison is None else tolerance(loss)
        # Mixed precision is for the task alone: norms and sums keep theirs.
        with without_autocast(loss.device.type), torch.no_grad():
            try:
                places: Any = [*gathering.edges, *checked]
                # The gradient of the sum of the examples' losses: the task gives their mean.
                times = torch.full_like(loss, count)
                with gathering:
                    found = list(torch.autograd.grad(loss, places, times, allow_unused=True))
                ordinary, found = found[len(found) - len(checked) :], found[: len(found) - len(checked)]
                gathering.close(found)
            except Unsplit as error:
                raise NotCovered(str(error)) from error
            norms = whole_norms(gathering.norms, count=count, layout=layout)
            self._kept = self._kept or gathering.bytes() / count
            if comparison is not None:
                comparison.close(ordinary, norms, tolerance=close)
            add_weighed(gathering.shares, sums, weighing(norms))
        self._steps += 1
        return norms


def hold_against(
    gradients: list[Tensor | None], parts: Sequence[Share], norms: Tensor, *, layout: Layout, tolerance: float
) -> None:
    """Compares the sum of the per-example gradients with the ordinary gradient of the sum of the losses.

    Raises:
        NotCovered: If they differ.
    """
    comparison = Comparison(layout.parameters)
    for part in parts:
        comparison.know(part, norms)
    comparison.close(gradients, norms, tolerance=tolerance)


def norms_of(parts: Sequence[Share], *, count: int, layout: Layout) -> Tensor:
    """The norms of the gradients whose summands these are, (count,)."""
    return whole_norms([part.norms() for part in parts], count=count, layout=layout)


def whole_norms(norms: Sequence[Tensor], *, count: int, layout: Layout) -> Tensor:
    """The norms of the gradients of whose summands these are the norms, each (count,)."""
    if not norms:
        return torch.zeros(count, dtype=layout.dtype, device=layout.device)
    if len(norms) == 1:
        return norms[0].to(layout.dtype)
    return torch.linalg.vector_norm(torch.stack([*norms]), dim=0, dtype=layout.dtype)


def without_autocast(device: str) -> AbstractContextManager[object]:
    """Mixed precision off."""
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else NOTHING


def is_checked(step: int) -> bool:
    """Whether this step, counted from 0, is held against the ordinary gradient: 0, 1, 2, 10, 100, 1000 ..."""
    return step <= 2 or str(step).rstrip("0") == "1"


def add_weighed(parts: list[Share], sums: Sums, weights: Tensor) -> None:
    """Adds weight times gradient of every example whose weight is not 0; the list is emptied on the way."""
    rows = None if bool(weights.all()) else weights.nonzero()[:, 0]
    weights = weights if rows is None else weights[rows]
    while parts:
        # The last one first, which is still in the cache; one after the other lets go of what it holds.
        part = parts.pop()
        (part if rows is None else part.only(rows)).add_to(sums, weights)


def tolerance(loss: Tensor) -> float:
    """How far two ways of computing one gradient may lie apart, relatively."""
    low = loss.dtype in (torch.bfloat16, torch.float16) or torch.is_autocast_enabled(loss.device.type)
    return 5e-2 if low else 1e-3


def unsupported(task: nn.Module, layout: Layout) -> str | None:
    """What keeps the hook engine from this task, or None."""
    seen: set[Parameter] = set()
    for name, module in task.named_modules():
        own = [parameter for parameter in _own(module) if parameter.requires_grad]
        seen.update(own)
        if any(map(layout.holds, own)) and not all(map(layout.holds, own)):
            return (
                f"{name or 'the task itself'} ({type(module).__name__}) has weights that the optimizer does not train"
            )
    return None if seen.issuperset(layout.parameters) else "a weight of the optimizer is not in the task"


def _own(module: nn.Module) -> list[Parameter]:
    return list(module.parameters(recurse=False))
