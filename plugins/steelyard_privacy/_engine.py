# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Engines: the sum of the clipped per-example gradients of a batch, for any task with a scalar loss.

An engine sees nothing but the task's own training step. Each leaves the task as it found it, also after an exception.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from steelyard_privacy._batches import take
from steelyard_privacy._clipping import coefficients
from steelyard_privacy._layers import Layers, supported
from steelyard_privacy._recording import recording
from steelyard_privacy._shares import Share
from steelyard_privacy._sums import Layout, Sums

Objective = Callable[[Any], Tensor | None]
"""A batch -> the mean loss of its examples; None where the task skips the batch."""
Weighing = Callable[[Tensor], Tensor]
"""Norms of the per-example gradients (n,) -> what each gradient is multiplied by (n,)."""


class NotCovered(RuntimeError):
    """The per-example gradients do not add up to the gradient: the engine overlooks a use of some weight."""


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
        total, norms = sums.total(), torch.zeros(count, dtype=layout.dtype, device=layout.device)
        for index in range(count):
            loss = objective(take(batch, slice(index, index + 1)))
            if loss is None:
                continue
            gradient = layout.gradient(loss)
            norms[index] = gradient.norm()
            weight = weighing(norms[index : index + 1])[0]
            if weight != 0:
                total += weight * gradient
        return norms


@final
class HookEngine(Engine):
    """One forward and one backward pass: per-example gradients from the inputs and output gradients of the layers.

    The backward pass makes no gradient of a weight: norms come from the factors of each layer's gradient, and the
    clipped sum from the same factors once the norms are known ("book-keeping", Bu et al. 2023).

    Args:
        task: The module whose layers are looked at, only while an objective runs.
        layout: The trained weights, all of which must belong to supported layers.
    """

    def __init__(self, task: nn.Module, layout: Layout) -> None:
        self._layers = Layers(task, layout)
        self._layout = layout
        self._steps = 0

    def add(self, sums: Sums, batch: Any, *, count: int, objective: Objective, weighing: Weighing) -> Tensor:
        """See `Engine`.

        Raises:
            NotCovered: If a layer does not see one row per example, or the check of the sum fails. Nothing is added.
        """
        layout = self._layout
        with recording(self._layers.modules) as calls:
            loss = objective(batch)
        if loss is None or not loss.requires_grad:
            return torch.zeros(count, dtype=layout.dtype, device=layout.device)
        checked = layout.parameters if is_checked(self._steps) or not calls else ()
        close = tolerance(loss)
        # Mixed precision is for the task alone: norms and sums keep theirs.
        with _without_autocast(loss.device.type):
            # The gradient of the sum of the examples' losses: the task gives their mean.
            places: Any = [*(call.edge for call in calls), *checked]
            found: Any = torch.autograd.grad(loss, places, torch.full_like(loss, count), allow_unused=True)
            with torch.no_grad():
                parts = self._layers.shares(calls, found[: len(calls)], count=count)
                if parts is None:
                    raise NotCovered("a layer does not see the examples in its first dimension")
                norms = _norms(parts, count=count, layout=layout)
                if checked:
                    self._check(parts, norms, found[len(calls) :], tolerance=close)
                _add(parts, sums, weighing(norms))
        self._steps += 1
        return norms

    def _check(
        self, parts: Sequence[Share], norms: Tensor, gradients: Sequence[Tensor | None], *, tolerance: float
    ) -> None:
        if not bool(torch.isfinite(norms).all()):
            return
        sums = Sums(self._layout)
        _add(parts, sums, torch.ones_like(norms))
        total = sums.total()
        rounding = 1e-5 * norms.sum()
        for parameter, gradient in zip(self._layout.parameters, gradients, strict=True):
            mine = self._layout.part(total, parameter)
            true = torch.zeros_like(mine) if gradient is None else gradient
            if not bool((mine - true).norm() <= tolerance * true.norm() + rounding):
                raise NotCovered(f"a weight of shape {tuple(parameter.shape)} is used outside its layer's own forward")


def _norms(parts: Sequence[Share], *, count: int, layout: Layout) -> Tensor:
    if not parts:
        return torch.zeros(count, dtype=layout.dtype, device=layout.device)
    return torch.linalg.vector_norm(torch.stack([part.norms() for part in parts]), dim=0, dtype=layout.dtype)


def _without_autocast(device: str) -> AbstractContextManager[object]:
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()


def is_checked(step: int) -> bool:
    """Whether this step, counted from 0, is held against the ordinary gradient: 0, 1, 2, 10, 100, 1000 ..."""
    return step <= 2 or str(step).rstrip("0") == "1"


def _add(parts: Sequence[Share], sums: Sums, weights: Tensor) -> None:
    if not bool(weights.all()):
        rows = weights.nonzero()[:, 0]
        parts, weights = [part.only(rows) for part in parts], weights[rows]
    for part in parts:
        part.add_to(sums, weights)


def tolerance(loss: Tensor) -> float:
    """How far two ways of computing one gradient may lie apart, relatively."""
    low = loss.dtype in (torch.bfloat16, torch.float16) or torch.is_autocast_enabled(loss.device.type)
    return 5e-2 if low else 1e-3


def unsupported(task: nn.Module, layout: Layout) -> str | None:
    """The path and type of the first layer that keeps the hook engine from this task, or None."""
    seen: set[Parameter] = set()
    for name, module in task.named_modules():
        own = [parameter for parameter in _own(module) if parameter.requires_grad]
        seen.update(own)
        if any(map(layout.holds, own)) and not (supported(module) and all(map(layout.holds, own))):
            return f"{name or 'the task itself'} ({type(module).__name__})"
    return None if seen.issuperset(layout.parameters) else "a weight of the optimizer that is not in the task"


def _own(module: nn.Module) -> list[Parameter]:
    return list(module.parameters(recurse=False))
