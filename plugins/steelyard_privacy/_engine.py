# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Engines: the sum of the clipped per-example gradients of a batch, for any task with a scalar loss.

An engine sees nothing but the task's own training step. Each leaves the task as it found it, also after an exception.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from steelyard_privacy._batches import take
from steelyard_privacy._clipping import coefficients
from steelyard_privacy._layers import Call, Share, shares, supported

Objective = Callable[[Any], Tensor | None]
"""A batch -> the mean loss of its examples; None where the task skips the batch."""
Weighing = Callable[[Tensor], Tensor]
"""Norms of the per-example gradients (n,) -> what each gradient is multiplied by (n,)."""


class NotCovered(RuntimeError):
    """The per-example gradients do not add up to the gradient: the engine overlooks a use of some weight."""


@dataclass(frozen=True, slots=True)
class Summed:
    """The weighted sum of per-example gradients, and their norms before weighing."""

    total: Tensor
    norms: Tensor


@final
class Layout:
    """The weights that are trained, as one flat vector in at least single precision."""

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        self.parameters = tuple(parameters)
        self.device = self.parameters[0].device
        self.dtype = torch.float32
        for parameter in self.parameters:
            self.dtype = torch.promote_types(self.dtype, parameter.dtype)
        ends = [*accumulate((parameter.numel() for parameter in self.parameters), initial=0)]
        self._places = {
            parameter: slice(start, stop)
            for parameter, start, stop in zip(self.parameters, ends[:-1], ends[1:], strict=True)
        }
        self.size = ends[-1]

    def holds(self, parameter: Parameter) -> bool:
        """True for a weight that is trained."""
        return parameter in self._places

    def zeros(self) -> Tensor:
        """A vector of zeros."""
        return torch.zeros(self.size, dtype=self.dtype, device=self.device)

    def add(self, vector: Tensor, parameter: Parameter, value: Tensor) -> None:
        """Adds one parameter's gradient to its place in the vector."""
        vector[self._places[parameter]] += value.reshape(-1)

    def part(self, vector: Tensor, parameter: Parameter) -> Tensor:
        """One parameter's place in the vector, in the parameter's shape."""
        return vector[self._places[parameter]].view_as(parameter)

    def gradient(self, loss: Tensor) -> Tensor:
        """The ordinary gradient of a scalar."""
        vector = self.zeros()
        if loss.requires_grad:
            found: Any = torch.autograd.grad(loss, self.parameters, allow_unused=True)
            for parameter, value in zip(self.parameters, found, strict=True):
                if value is not None:
                    self.add(vector, parameter, value)
        return vector


class Engine(ABC):
    """Adds up per-example gradients."""

    @abstractmethod
    def weighed(self, batch: Any, *, count: int, objective: Objective, weighing: Weighing) -> Summed:
        """The sum over the batch's `count` examples of weight times gradient; examples of weight 0 are left out."""

    @final
    def clipped(self, batch: Any, *, count: int, objective: Objective, max_norm: float) -> Summed:
        """The sum of the gradients, each clipped to `max_norm` (Abadi et al. 2016, algorithm 1)."""
        return self.weighed(
            batch, count=count, objective=objective, weighing=lambda norms: coefficients(norms, max_norm=max_norm)
        )


@final
class MicrobatchEngine(Engine):
    """One example at a time: exact for every task, and the oracle of the faster engine."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def weighed(self, batch: Any, *, count: int, objective: Objective, weighing: Weighing) -> Summed:
        """See `Engine`."""
        total, norms = self._layout.zeros(), torch.zeros(count, dtype=self._layout.dtype, device=self._layout.device)
        for index in range(count):
            loss = objective(take(batch, slice(index, index + 1)))
            if loss is None:
                continue
            gradient = self._layout.gradient(loss)
            norm = gradient.norm()
            weight = weighing(norm[None])[0]
            norms[index] = norm
            if weight != 0:
                total += weight * gradient
        return Summed(total, norms)


@final
class HookEngine(Engine):
    """One forward and one backward pass: per-example gradients from the inputs and output gradients of the layers.

    Args:
        task: The module whose layers are looked at, only while an objective runs.
        layout: The trained weights, all of which must belong to supported layers.
        checks: How many of the first sums are held against the ordinary gradient, which finds weights that are used
            outside their layer.
    """

    def __init__(self, task: nn.Module, layout: Layout, *, checks: int = 10) -> None:
        self._layers = [module for module in task.modules() if any(map(layout.holds, _own(module)))]
        self._layout = layout
        self._checks = checks

    def weighed(self, batch: Any, *, count: int, objective: Objective, weighing: Weighing) -> Summed:
        """See `Engine`.

        Raises:
            NotCovered: If a layer does not see one row per example, or the check of the sum fails.
        """
        layout = self._layout
        with _recording(self._layers) as calls:
            loss = objective(batch)
        if loss is None or not loss.requires_grad:
            return Summed(layout.zeros(), torch.zeros(count, dtype=layout.dtype, device=layout.device))
        checked = layout.parameters if self._checks or not calls else ()
        # The gradient of the sum of the examples' losses: the task gives their mean.
        found: Any = torch.autograd.grad(
            loss, [*(call.output for call in calls), *checked], torch.full_like(loss, count), allow_unused=True
        )
        parts = shares(calls, found[: len(calls)], count=count)
        if parts is None:
            raise NotCovered("a layer does not see the examples in its first dimension")
        norms = torch.zeros(count, dtype=layout.dtype, device=layout.device)
        for part in parts:
            norms += part.squared_norms()
        norms = norms.sqrt()
        if checked:
            self._check(parts, norms, found[len(calls) :], tolerance=tolerance(loss))
        return Summed(self._sum(parts, weighing(norms)), norms)

    def _sum(self, parts: Sequence[Share], weights: Tensor) -> Tensor:
        total = self._layout.zeros()
        for part in parts:
            for parameter, value in part.weighted_sums(weights):
                self._layout.add(total, parameter, value)
        return total

    def _check(
        self, parts: Sequence[Share], norms: Tensor, gradients: Sequence[Tensor | None], *, tolerance: float
    ) -> None:
        if not bool(torch.isfinite(norms).all()):
            return
        total = self._sum(parts, torch.ones_like(norms))
        rounding = 1e-5 * norms.sum()
        for parameter, gradient in zip(self._layout.parameters, gradients, strict=True):
            mine = self._layout.part(total, parameter)
            true = torch.zeros_like(mine) if gradient is None else gradient
            if not bool((mine - true).norm() <= tolerance * true.norm() + rounding):
                raise NotCovered(f"a weight of shape {tuple(parameter.shape)} is used outside its layer's own forward")
        self._checks -= 1


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


@contextmanager
def _recording(layers: Sequence[nn.Module]) -> Generator[list[Call]]:
    calls: list[Call] = []

    def record(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> Tensor | None:
        if not output.requires_grad:
            return None
        inputs: Tensor = args[0] if args else kwargs["input"]
        calls.append(Call(module, inputs.detach(), output))
        # What follows may work in place, and must not work on what was recorded.
        return output.clone()

    handles = [layer.register_forward_hook(record, with_kwargs=True, prepend=True) for layer in layers]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()
