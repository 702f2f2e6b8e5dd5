# pyright: reportPrivateUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
"""The live half of `compute=compile`, with one private touch: whether somebody watches the operations go by.

Seen on torch 2.13.0; a test names it. A mode that watches operations sees nothing of compiled code, so a step that is
watched runs as it is written.
"""

import functools
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from statistics import median
from typing import Any, final

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import nn
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from steelyard._untyped import named_modules
from steelyard.adapters import Adapter
from steelyard.attachment import Attachment
from steelyard.draft import Step
from steelyard.measurement import Artefact, Better, Measurement, Status
from steelyard.problem import Problem
from steelyard.runs import Run
from steelyard_compute._overriding import matches, outermost, overridden, unmatched
from steelyard_compute.compile import Compile

COMPILERS = ("c++", "g++", "clang++")


def problems(plugin: Compile, task: nn.Module) -> Iterator[Problem]:
    """No compiler, and patterns without a layer."""
    if plugin.backend == "inductor" and compiler() is None:
        yield Problem(
            "torch.compile writes C++ and there is no compiler for it here: apt-get install g++",
            fix="compute.compile.backend=aot_eager  (needs none, and is no faster than without)",
        )
    yield from unmatched(plugin.layers, [*named_modules(task)], option="compute.compile.layers")


def compiler() -> str | None:
    """The C++ compiler that would be used; None if there is none."""
    wanted = os.environ.get("CXX")
    return next(filter(None, map(shutil.which, (wanted,) if wanted else COMPILERS)), None)


def chosen(plugin: Compile, task: nn.Module) -> dict[str, nn.Module]:
    """The layers that are compiled, none inside another."""
    if not plugin.layers:
        return outermost(dict(task.named_children()))
    return outermost({name: layer for name, layer in named_modules(task).items() if matches(name, plugin.layers)})


def watched() -> bool:
    """Whether a mode sees the operations go by.

    From the stack of modes itself: the flag that torch keeps beside it stays up where two modes end crosswise.
    """
    return any(not mode.is_infra_mode() for mode in _get_current_dispatch_mode_stack())


@final
class CompileAttachment(Attachment):
    """Puts `forward` of the layers under torch.compile while a step runs.

    Args:
        plugin: The settings.
        task: Whose layers.
        adapter: Knows which batches are padded: they have another length each time, and what was compiled for the
            first one alone would be made once more for the second.
    """

    def __init__(self, plugin: Compile, task: nn.Module, adapter: Adapter) -> None:
        self._plugin, self._adapter = plugin, adapter
        self._layers = chosen(plugin, task)
        self._made: dict[str, Callable[..., Any]] = {}
        self._start = 0.0
        self._compiled = False
        self._seconds: list[float] = []

    def wrap(self, inner: Step) -> Step:
        """The step, with the layers compiled inside."""

        @functools.wraps(inner)
        def outer(*args: Any, **kwargs: Any) -> Any:
            self._compiled = not watched()
            if not self._compiled:
                return inner(*args, **kwargs)
            dynamic = self._plugin.dynamic
            if dynamic is None and args and self._adapter.present(args[0]) is not None:
                dynamic = True
            with ExitStack() as stack:
                for name, layer in self._layers.items():
                    stack.enter_context(overridden(layer, self._forward(name, layer, dynamic=dynamic)))
                return inner(*args, **kwargs)

        return outer

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Starts the clock of the step."""
        self._start = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stops it, where the step was compiled."""
        if self._compiled:
            self._seconds.append(time.perf_counter() - self._start)

    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """What compiling took; what it saved stands in the costs, beside a run without it."""
        meaning = "time that went into making machine code of the training step"
        if not run.trained or not self._seconds:
            why = "there was no training in this run" if not run.trained else "no step was compiled"
            yield Measurement(name="compile_seconds", status=Status.SKIPPED, unit="s", note=why, meaning=meaning)
            return
        usual = median(self._seconds)
        slow = [seconds - usual for seconds in self._seconds if seconds > 2 * usual]
        yield Measurement(
            name="compile_seconds",
            value=sum(slow),
            better=Better.LOWER,
            unit="s",
            count=len(self._seconds),
            timing=True,
            note=f"what {len(slow)} slow steps took beyond a usual one ({1000 * usual:.3g} ms) with "
            f"{', '.join(self._layers)} compiled by {self._plugin.backend}",
            meaning=meaning,
        )

    def _forward(self, name: str, layer: nn.Module, *, dynamic: bool | None) -> Callable[..., Any]:
        if name not in self._made:
            plugin = self._plugin
            mode = plugin.mode if plugin.backend == "inductor" else None
            compiled: Any = torch.compile(layer.forward, backend=plugin.backend, mode=mode, dynamic=dynamic)
            self._made[name] = compiled
        return self._made[name]
