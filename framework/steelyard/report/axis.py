"""Axes: where a value lies between 0 and 1, and which round numbers to print."""

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One direction of a chart.

    Attributes:
        label: What it shows, with unit.
        low: The value at 0.
        high: The value at 1; above `low`.
        ticks: Round values between them.
        log: True for a logarithmic axis.
    """

    label: str
    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool = False

    def place(self, value: float) -> float:
        """The position of a value, 0 to 1 inside the axis."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def axis(label: str, values: Iterable[float], *, may_log: bool = False, within: int = 5) -> Axis:
    """An axis that holds all values, with about `within` ticks.

    Args:
        label: What it shows.
        values: At least one.
        may_log: Use a logarithmic axis where the values are positive and span more than a factor of 30.
        within: The number of ticks to aim at.
    """
    known = sorted(values)
    low, high = known[0], known[-1]
    if may_log and low > 0 and high / low > 30:
        return _log_axis(label, low, high)
    if low == high:
        room = abs(low) * 0.1 or 1.0
        low, high = low - room, high + room
    step = _step((high - low) / within)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(round(index * step, 12) for index in range(first, last + 1))
    return Axis(label=label, low=ticks[0], high=ticks[-1], ticks=ticks)


def _step(rough: float) -> float:
    magnitude = 10.0 ** math.floor(math.log10(rough))
    return next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= rough * 0.999)


def _log_axis(label: str, low: float, high: float) -> Axis:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    stride = max(1, (last - first) // 5)
    ticks = tuple(10.0**power for power in range(first, last + 1, stride))
    return Axis(label=label, low=10.0**first, high=10.0**last, ticks=ticks, log=True)
