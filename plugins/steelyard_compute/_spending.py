# pyright: reportUnknownMemberType=false
"""What a step of training costs, in whatever is limited."""

import time
from dataclasses import dataclass
from typing import Any, cast

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from steelyard.estimating._flops import FlopCount
from steelyard.narrowing import is_mapping, is_sequence
from steelyard.problem import refuse
from steelyard_compute._energy import Energy, Meter, Rapl, Seldom, meter_of, missing
from steelyard_compute.budget import Budget

JOULES_PER_KWH = 3.6e6
SECONDS_PER_HOUR = 3600.0
SAMPLED = 1.0
"""Seconds between two readings of codecarbon, which take longer than a small step."""


@dataclass(slots=True)
class Spent:
    """What one kind of cost has come to.

    Attributes:
        total: So far, of all sessions of the run.
        dearest: The most that one step cost.
        after: The most that came after the last step, which is validation.
    """

    total: float = 0.0
    dearest: float = 0.0
    after: float = 0.0

    def add(self, cost: float) -> None:
        """One more step."""
        self.total += cost
        self.dearest = max(self.dearest, cost)

    def passes(self, limit: float) -> bool:
        """Whether another step may pass the limit."""
        return self.total + self.dearest + self.after > limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of a stretch of training on all ranks together.

    Attributes:
        seconds: Wall time of the slowest.
        joules: Energy; 0 where nobody measures it.
        examples: Worked through.
        flops: Operations.
    """

    seconds: float = 0.0
    joules: float = 0.0
    examples: float = 0.0
    flops: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            seconds=self.seconds + other.seconds,
            joules=self.joules + other.joules,
            examples=self.examples + other.examples,
            flops=self.flops + other.flops,
        )

    def of(self, name: str, plugin: Budget) -> float:
        """In the unit of a limit."""
        kwh = self.joules / JOULES_PER_KWH
        hours = self.seconds / SECONDS_PER_HOUR
        return {
            "seconds": self.seconds,
            "examples": self.examples,
            "flops": self.flops,
            "kwh": kwh,
            "euros": kwh * plugin.euros_per_kwh + hours * plugin.euros_per_hour,
        }[name]


class Till:
    """Takes the cost of each stretch, from one look at the clock and the meter to the next.

    Args:
        plugin: The limits; what none of them asks for is not counted.
    """

    def __init__(self, plugin: Budget) -> None:
        self._plugin = plugin
        self._counts = plugin.flops is not None
        self._meters = plugin.kwh is not None or (plugin.euros is not None and plugin.euros_per_kwh > 0)
        self._meter: Meter | None = None
        self._seconds, self._joules = 0.0, 0.0
        self._counting: FlopCount | None = None
        self._shapes: dict[tuple[Any, ...], int] = {}
        self._shared = False
        self.unknown: set[str] = set()
        self.how, self.measured = "", True

    def start(self, module: LightningModule) -> None:
        """From here on.

        Raises:
            Refused: If energy is limited and nobody knows the power of the device.
        """
        if self._meters:
            plugin, device = self._plugin, module.device
            core, whole = plugin.core_watts, plugin.device_watts
            self._meter = meter_of(plugin.meter, device, core_watts=core, device_watts=whole)
            if self._meter is None:
                raise refuse(
                    f"energy is limited: {missing(device, 'compute.budget.device_watts')}",
                    fix="compute.budget.device_watts=300",
                )
            self._shared = isinstance(self._meter, Rapl)
            if plugin.meter == "codecarbon":
                self._meter = Seldom(self._meter, every=SAMPLED)
        self._lap()

    def rest(self, trainer: Trainer, module: LightningModule) -> Cost:
        """Ends the meter; what it says more than at the last look."""
        return self._of_all(trainer, module, Cost(joules=self.end())) if self._meter is not None else Cost()

    def open(self, batch: Any) -> None:
        """A batch begins: operations are counted where its shape was not seen before."""
        if self._counts and shapes(batch) not in self._shapes:
            self._counting = FlopCount()
            self._counting.start()

    def close(self, trainer: Trainer, module: LightningModule, batch: Any, *, examples: int) -> Cost:
        """A batch has ended."""
        if self._counting is not None:
            self._shapes[shapes(batch)] = self._counting.total
            self.unknown |= set(self._counting.unknown)
            self.leave()
        seconds, joules = self._lap()
        flops = float(self._shapes.get(shapes(batch), 0)) if self._counts else 0.0
        return self._of_all(trainer, module, Cost(seconds=seconds, joules=joules, examples=examples, flops=flops))

    def between(self, trainer: Trainer, module: LightningModule) -> Cost:
        """Something that is no step has ended, such as a validation."""
        seconds, joules = self._lap()
        return self._of_all(trainer, module, Cost(seconds=seconds, joules=joules))

    def end(self) -> float:
        """The meter is not needed any more; gives the joules of this rank since the last look."""
        meter, self._meter = self._meter, None
        return 0.0 if meter is None else self._used(meter.end())

    def leave(self) -> None:
        """Takes the counter away, if there is one."""
        if self._counting is not None:
            self._counting.stop()
            self._counting = None

    def _lap(self) -> tuple[float, float]:
        before, self._seconds = self._seconds, time.monotonic()
        if self._meter is None:
            return self._seconds - before, 0.0
        return self._seconds - before, self._used(self._meter.read())

    def _used(self, found: Energy) -> float:
        used, self._joules = found.joules - self._joules, found.joules
        self.how, self.measured = found.how, found.measured
        return used

    def _of_all(self, trainer: Trainer, module: LightningModule, own: Cost) -> Cost:
        """The same on every rank, so that all of them decide alike."""
        if trainer.world_size == 1:
            return own
        own_row = torch.tensor([own.seconds, own.joules, own.examples, own.flops], dtype=torch.float64)
        rows = cast("Tensor", module.all_gather(own_row))
        seconds, most = float(rows[:, 0].max()), float(rows[:, 1].max())
        joules, examples, flops = (float(rows[:, place].sum()) for place in (1, 2, 3))
        # The counters of a machine see all of its ranks.
        joules = most if self._shared else joules
        return Cost(seconds=seconds, joules=joules, examples=examples, flops=flops)


def shapes(batch: Any) -> tuple[Any, ...]:
    """Of every tensor in a batch, whatever its structure."""
    if isinstance(batch, Tensor):
        return tuple(batch.shape)
    if is_mapping(batch):
        return tuple(shapes(part) for part in batch.values())
    return tuple(shapes(part) for part in batch) if is_sequence(batch) else ()
