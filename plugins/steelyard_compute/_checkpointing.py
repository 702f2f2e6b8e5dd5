# pyright: reportUnknownVariableType=false
"""The live half of `compute=checkpointing`."""

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, final

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from steelyard._untyped import named_modules
from steelyard.attachment import Attachment
from steelyard.draft import Step
from steelyard.measurement import Artefact, Measurement
from steelyard.problem import Problem
from steelyard.runs import Run
from steelyard_compute._overriding import matches, outermost, overridden, unmatched
from steelyard_compute.checkpointing import Checkpointing

LISTS = (nn.ModuleList, nn.Sequential)


def chosen(plugin: Checkpointing, task: nn.Module) -> dict[str, nn.Module]:
    """The layers that are checkpointed, none inside another: the outermost counts."""
    modules = named_modules(task)
    if plugin.layers:
        found = {name: layer for name, layer in modules.items() if matches(name, plugin.layers)}
    else:
        found = {
            f"{name}.{own}" if name else own: layer
            for name, module in modules.items()
            if isinstance(module, LISTS)
            for own, layer in module.named_children()
        }
    # Without weights and children there is nothing worth computing twice.
    return outermost(found)


def problems(plugin: Checkpointing, task: nn.Module) -> Iterator[Problem]:
    """Patterns without a layer, and layers that may not run twice."""
    names = [*named_modules(task)]
    yield from unmatched(plugin.layers, names, option="compute.checkpointing.layers")
    found = chosen(plugin, task)
    if not found and not plugin.layers:
        yield Problem(
            "the model has no list of layers, so it is not known what to checkpoint",
            fix="compute.checkpointing.layers=['model.*']",
        )
    for name, layer in found.items():
        for below, module in named_modules(layer).items():
            if any(buffer == "running_mean" for buffer, _ in module.named_buffers(recurse=False)):
                yield Problem(
                    f"{name}{'.' if below else ''}{below} is {type(module).__name__}: computed twice, its running "
                    "statistics would be updated twice",
                    fix="model.norm=group",
                )


@final
class CheckpointingAttachment(Attachment):
    """Puts `forward` of the layers under checkpointing while a step runs.

    Args:
        plugin: The settings.
        task: Whose layers.
    """

    def __init__(self, plugin: Checkpointing, task: nn.Module) -> None:
        self._layers = chosen(plugin, task)

    def wrap(self, inner: Step) -> Step:
        """The step, with the layers checkpointed inside."""

        @functools.wraps(inner)
        def outer(*args: Any, **kwargs: Any) -> Any:
            with ExitStack() as stack:
                for layer in self._layers.values():
                    stack.enter_context(overridden(layer, _twice(layer.forward)))
                return inner(*args, **kwargs)

        return outer

    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """How many layers it were; what it saved stands in the costs, beside a run without it."""
        del run
        yield Measurement(
            name="layers",
            value=float(len(self._layers)),
            unit="layers",
            note=", ".join(self._layers)[:200],
            meaning="layers that are computed twice and not kept",
        )


def _twice(forward: Callable[..., Any]) -> Callable[..., Any]:
    def again(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return again
