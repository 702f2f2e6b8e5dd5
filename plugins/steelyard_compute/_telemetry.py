"""What is told of a training beside its steps: tokens, energy, how busy the machine was, curves."""

import functools
import time
from collections.abc import Iterator
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from steelyard import resident
from steelyard.measurement import Better, Measurement, Picture, Status
from steelyard.report.words import counted
from steelyard.runs import Run
from steelyard_compute._clock import Clock
from steelyard_compute._energy import Energy, Meter, meter_of, missing
from steelyard_compute._memory import MIB
from steelyard_compute._throughput import matmul_peak, tokens
from steelyard_compute.cost import Cost

NO_TRAINING = "there was no training in this run"
EVERY = 0.05
"""Seconds between two looks at the memory."""
READ = 1.0
"""Seconds between two looks at the meter."""
KEPT, DRAWN = 2000, 20
"""Most samples of the memory, and least steps for a picture."""
FORMATS = {"bf16": torch.bfloat16, "16": torch.float16, "64": torch.float64}


class Telemetry:
    """Gathers while training runs; nothing here touches the training.

    Args:
        plugin: The settings.
    """

    def __init__(self, plugin: Cost) -> None:
        self._plugin = plugin
        self._tokens: Tensor | None = None
        self._before = Energy(joules=0.0, measured=True, how="")
        self._meter: Meter | None = None
        self._energy: Energy | None = None
        self._no_meter = NO_TRAINING
        self._device = torch.device("cpu")
        self._format = torch.float32
        self.samples: list[tuple[int, float]] = []
        self._every, self._next, self._next_reading = EVERY, 0.0, 0.0

    def state(self) -> dict[str, Any]:
        """Sums so far, for the checkpoint."""
        spent = self._spent()
        return {
            "tokens": None if self._tokens is None else int(self._tokens),
            "joules": None if spent is None else spent.joules,
            "measured": True if spent is None else spent.measured,
            "how": "" if spent is None else spent.how,
        }

    def load(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        self._tokens = None if state["tokens"] is None else torch.tensor(state["tokens"])
        self._before = Energy(joules=state["joules"] or 0.0, measured=state["measured"], how=state["how"])
        self._energy = None if state["joules"] is None else Energy(joules=0.0, measured=True, how="")

    def start(self, trainer: Trainer, module: LightningModule) -> None:
        """Starts the meter."""
        prefix = str(trainer.precision).partition("-")[0]
        self._format = FORMATS.get(prefix, torch.float32)
        plugin, device = self._plugin, module.device
        self._device = device
        core, whole = plugin.core_watts, plugin.device_watts
        self._meter = meter_of(plugin.meter, device, core_watts=core, device_watts=whole)
        self._no_meter = missing(device, "compute.cost.device_watts")
        self._next = time.perf_counter()

    def add(self, batch: Any, *, step: int) -> None:
        """One more step."""
        found = tokens(batch)
        if found is not None:
            # A sum on the device, which nobody waits for.
            self._tokens = found if self._tokens is None else self._tokens.to(found.device) + found
        now = time.perf_counter()
        if now >= self._next:
            self._look(step)
            self._next = now + self._every

    def stop(self) -> None:
        """Reads the meter for the last time."""
        if self._meter is not None:
            self._energy, self._meter = self._meter.end(), None

    def joules(self) -> float | None:
        """Of this session so far; None where nobody can tell."""
        return None if self._meter is None else self._meter.read().joules

    def energy(self, run: Run) -> Measurement:
        """Of the training with its validation; on an estimate its assumption."""
        spent = self._spent()
        if not run.trained or spent is None:
            return skipped("energy", self._no_meter if run.trained else NO_TRAINING, "J")
        return Measurement(
            name="energy",
            value=spent.joules,
            status=Status.MEASURED if spent.measured else Status.ESTIMATED,
            better=Better.LOWER,
            unit="J",
            timing=True,
            note=f"training with validation; {spent.how}",
        )

    def tokens_per_second(self, run: Run, clock: Clock) -> Iterator[Measurement]:
        """For texts."""
        if run.trained and self._tokens is not None and clock.inside:
            total = int(self._tokens)
            yield Measurement(
                name="tokens_per_second",
                value=total / clock.inside,
                better=Better.HIGHER,
                unit="1/s",
                count=total,
                timing=True,
                note="inside training steps; padding does not count",
            )

    def utilisation(self, run: Run, clock: Clock, *, per_example: float, lower: str) -> Measurement:
        """FLOP/s of the training against those of large matrix products on the same device, measured here."""
        name = "mfu"
        if not run.trained:
            return skipped(name, NO_TRAINING, "")
        if not (per_example and clock.examples and clock.inside):
            return skipped(name, "no step was both counted and timed", "")
        if run.deadline is not None and time.monotonic() > run.deadline:
            return skipped(name, "the deadline has passed", "")
        threads = torch.get_num_threads()
        peak = _peak(run.device, self._format, threads)
        reached = per_example * clock.examples / clock.inside
        kind = str(self._format).removeprefix("torch.")
        where = f"{run.device} with {counted(threads, 'thread')}" if run.device.type == "cpu" else str(run.device)
        return Measurement(
            name=name,
            value=reached / peak,
            better=Better.HIGHER,
            count=len(clock.steps),
            timing=True,
            note=f"{reached / 1e9:.4g} of {peak / 1e9:.4g} GFLOP/s, which large {kind} matrix products reach on "
            f"{where}; fast convolutions may pass 1{lower}",
        )

    def pictures(self, clock: Clock) -> Iterator[Picture]:
        """Step time and memory over the training."""
        if self._plugin.curves and len(clock.steps) >= DRAWN:
            from steelyard_compute._curves import training_curves

            first, last = clock.steps[0], clock.steps[-1]
            yield Picture(
                name="training",
                title="Step time and memory over the training",
                png=training_curves([*clock.steps], self.samples, of=str(self._device)),
                alt=f"step times from {1000 * first:.3g} ms at the start to {1000 * last:.3g} ms at the end",
            )

    def _look(self, step: int) -> None:
        if self._meter is not None and time.perf_counter() >= self._next_reading:
            # Counters wrap around, so they are read now and then.
            self._meter.read()
            self._next_reading = time.perf_counter() + READ
        # A GPU's allocator keeps what is freed, so what it holds is the most so far.
        gpu = self._device.type == "cuda"
        held = torch.cuda.memory_reserved(self._device) if gpu else resident.held()
        self.samples.append((step, held / MIB))
        if len(self.samples) > KEPT:
            del self.samples[1::2]
            self._every *= 2

    def _spent(self) -> Energy | None:
        now = self._energy if self._meter is None else self._meter.read()
        if now is None:
            return None
        how = "; before: ".join(filter(None, (now.how, self._before.how)))
        return Energy(joules=now.joules + self._before.joules, measured=now.measured and self._before.measured, how=how)


@functools.cache
def _peak(device: torch.device, format: torch.dtype, threads: int) -> float:
    del threads  # part of the key
    with torch.no_grad():
        return matmul_peak(device, format)


def seconds_of(name: str, value: float, at: dict[str, str | float], note: str) -> Measurement:
    """A time that plugins or the training took."""
    return Measurement(name=name, value=value, better=Better.LOWER, unit="s", at=at, timing=True, note=note)


def skipped(name: str, why: str, unit: str) -> Measurement:
    """What could not be told."""
    return Measurement(name=name, status=Status.SKIPPED, unit=unit, note=why)
