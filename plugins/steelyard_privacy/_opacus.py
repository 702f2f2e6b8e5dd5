# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Opacus' own per-example hooks behind the same interface: slower, and the reference that many know."""

import warnings
from typing import Any, final

import torch
from opacus.grad_sample import GradSampleModule
from torch import Tensor, nn

from steelyard_privacy._engine import (
    Engine,
    NotCovered,
    Objective,
    Weighing,
    add_weighed,
    hold_against,
    is_checked,
    norms_of,
    tolerance,
    without_autocast,
)
from steelyard_privacy._shares import Instantiated, Share
from steelyard_privacy._sums import Layout, Sums


@final
class OpacusEngine(Engine):
    """Every gradient of every example in memory at once, by Opacus' rules and, where it has none, by functorch.

    Args:
        task: The module, whose layers carry Opacus' hooks only while an objective runs.
        layout: The trained weights.
    """

    def __init__(self, task: nn.Module, layout: Layout) -> None:
        self._task = task
        self._layout = layout
        self._steps = 0

    def described(self) -> list[str]:
        """How the layers are worked on."""
        return ["all layers by Opacus' GradSampleModule"]

    def add(self, sums: Sums, batch: Any, *, count: int, objective: Objective, weighing: Weighing) -> Tensor:
        """See `Engine`.

        Raises:
            NotCovered: If Opacus cannot do it, or the check of the sum fails. Nothing is added.
        """
        layout = self._layout
        objects: list[Any] = [*self._task.modules(), *self._task.parameters()]
        before = [(one, set(vars(one))) for one in objects]
        gradients = [parameter.grad for parameter in layout.parameters]
        # Opacus' hooks look at nothing in evaluation mode, in which the proof runs once.
        asleep = [one for one in self._task.modules() if not one.training and _has_weights(one)]
        hooked: Any = None
        try:
            hooked = GradSampleModule(self._task, strict=False)
            for one in asleep:
                one.training = True
            loss = objective(batch)
            if loss is None or not loss.requires_grad:
                return torch.zeros(count, dtype=layout.dtype, device=layout.device)
            for parameter in layout.parameters:
                parameter.grad = None
            with warnings.catch_warnings():
                # The first layer's inputs need no gradient, of which its hooks warn in every step.
                warnings.filterwarnings("ignore", message="Full backward hook is firing")
                loss.backward()
            parts = self._parts(count)
            found = [None if one.grad is None else one.grad * count for one in layout.parameters]
        except (NotImplementedError, ValueError, AttributeError, IndexError, RuntimeError) as error:
            raise NotCovered(f"Opacus cannot do it: {error}") from error
        finally:
            for one in asleep:
                one.training = False
            if hooked is not None:
                hooked.remove_hooks()
            for one, names in before:
                for name in vars(one).keys() - names:
                    delattr(one, name)
            for parameter, gradient in zip(layout.parameters, gradients, strict=True):
                parameter.grad = gradient
        with without_autocast(loss.device.type), torch.no_grad():
            norms = norms_of(parts, count=count, layout=layout)
            if is_checked(self._steps):
                hold_against(found, parts, norms, layout=layout, tolerance=tolerance(loss))
            add_weighed(parts, sums, weighing(norms))
        self._steps += 1
        return norms

    def _parts(self, count: int) -> list[Share]:
        parts: list[Share] = []
        for parameter in self._layout.parameters:
            samples: Tensor | None = getattr(parameter, "grad_sample", None)
            if samples is not None:
                if len(samples) != count:
                    raise ValueError("a layer does not see the examples in its first dimension")
                parts.append(Instantiated(parameter, samples.to(self._layout.dtype)))
        return parts


def _has_weights(module: nn.Module) -> bool:
    return next(module.parameters(recurse=False), None) is not None
