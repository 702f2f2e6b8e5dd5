"""The live half of `compute.quantize`."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any, final

import torch

from steelyard.attachment import Attachment
from steelyard.devices import wait_for
from steelyard.measurement import Artefact, Better, Measurement, Status
from steelyard.runs import Run
from steelyard_compute._clock import spread
from steelyard_compute._rewritten import SPLIT, losses, predictions
from steelyard_compute._rounded_layers import Swap, dynamic, packed, plain_size, swapped
from steelyard_compute._rounding import int4, int8
from steelyard_compute.quantize import Quantize

PLAIN = "as trained"
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """Seconds of one forward pass over the same batch, as it was and rounded, in turn.

    Attributes:
        plain: Each round's.
        rounded: Each round's.
        examples: In the batch.
    """

    plain: list[float]
    rounded: list[float]
    examples: int


@final
class QuantizeAttachment(Attachment):
    """Puts rounded layers in the place of the own ones while it looks, and takes them away again.

    Args:
        plugin: The settings.
    """

    def __init__(self, plugin: Quantize) -> None:
        self._plugin = plugin

    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """The size as it is, then for each format what it saves and what it loses."""
        size = plain_size(run.task)
        yield _size(size, PLAIN, "all parameters and buffers")
        for name in dict.fromkeys(self._plugin.formats):
            why = _obstacle(name, run)
            if why is None:
                yield from self._weighed(name, run, size)
            else:
                yield Measurement(
                    name="size",
                    status=Status.SKIPPED,
                    unit="MiB",
                    at={"format": name},
                    note=why,
                    meaning=SIZE,
                )

    def _weighed(self, name: str, run: Run, size: int) -> Iterator[Measurement]:
        swap = _made(name, run, self._plugin.group)
        after, timed = predictions(run, swap), self._timed(run, swap)
        at: dict[str, str | float] = {"format": name}
        whole = sum(weight.numel() for weight in run.task.parameters())
        yield _size(
            swap.size, name, f"{swap.rounded / whole:.1%} of the weights are rounded; {size / swap.size:.2f} times less"
        )
        yield from losses(run, after, at)
        yield from _times(timed, at, run)

    @torch.no_grad()
    def _timed(self, run: Run, swap: Swap) -> Timed:
        batch = run.to_device(next(iter(run.loader(SPLIT))))
        modes: list[Callable[[], AbstractContextManager[Any]]] = [nullcontext, partial(swapped, run.task, swap)]
        found: tuple[list[float], list[float]] = ([], [])
        # The first round warms up both.
        for turn in range(self._plugin.rounds + 1):
            for kept, mode in zip(found, modes, strict=True):
                with mode():
                    start = _now(run)
                    run.adapter.outputs(run.task, batch)
                    seconds = _now(run) - start
                if turn:
                    kept.append(seconds)
            if turn and run.deadline is not None and time.monotonic() > run.deadline:
                break
        plain, rounded = found
        return Timed(plain=plain, rounded=rounded, examples=run.adapter.size(batch))


SIZE = "memory of everything that the model keeps"


def _made(name: str, run: Run, group: int) -> Swap:
    if name == "int8_dynamic":
        return dynamic(run.task)
    return packed(run.task, int8 if name == "int8" else partial(int4, group=group))


def _obstacle(name: str, run: Run) -> str | None:
    if name == "int8_dynamic":
        if run.device.type != "cpu":
            return "torch multiplies in 8 bits on the CPU only"
        if find_spec("torch.ao.quantization") is None or torch.backends.quantized.engine in ("none", ""):
            return "this build of torch has no kernels for 8 bits"
    return None


def _size(size: int, name: str, note: str) -> Measurement:
    return Measurement(
        name="size",
        value=size / MIB,
        better=Better.LOWER,
        unit="MiB",
        at={"format": name},
        note=note,
        meaning=SIZE,
    )


def _times(timed: Timed, at: dict[str, str | float], run: Run) -> Iterator[Measurement]:
    per = [seconds / timed.examples for seconds in timed.rounded]
    clock = "CPU time of the process" if run.device.type == "cpu" else "time"
    note = f"{clock}, median forward pass in a batch of {timed.examples} on {run.device}"
    seconds = spread(per)
    yield Measurement(
        name="seconds_per_example",
        value=seconds.median,
        better=Better.LOWER,
        unit="s",
        interval=seconds.interval,
        count=len(per),
        at=at,
        timing=True,
        note=note,
        meaning="time that the rounded model needs for one answer",
    )
    saved = spread([1 - after / before for before, after in zip(timed.plain, timed.rounded, strict=True)])
    plain = spread(timed.plain).median / timed.examples
    yield Measurement(
        name="time_saved",
        value=saved.median,
        better=Better.HIGHER,
        interval=saved.interval,
        count=len(per),
        at=at,
        timing=True,
        note=f"against {plain:.3g} s as trained, measured in turn; below 0 it takes longer",
        meaning="share of the time of an answer that rounding saves",
    )


def _now(run: Run) -> float:
    if run.device.type == "cpu":
        return time.process_time()
    wait_for(run.device)
    return time.perf_counter()
