"""What a bad step is: pure arithmetic on the losses and the gradient norms of the steps before."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import Any

MAD = 1.4826
"""The deviation of a normal distribution over its median absolute deviation."""
LOSS_FLOOR, NORM_FLOOR = 0.05, 0.2
"""Least deviation, as a part of the median: what is nearly constant must not make a spike of everything else."""
SHIFT = 8
"""Spikes in a row that are taken for a new level."""
LEAST = 16
"""Good steps before which there are no spikes."""
LARGEST = 1e18
"""Norm of a gradient above which squares of it, which optimizers keep, are not finite in 32 bits."""


class Kind(StrEnum):
    """What a step is."""

    GOOD = "good"
    SHIFT = "a new level"
    """Good, and so were the spikes before it."""
    LOSS = "loss not finite"
    GRADIENT = "gradient not finite"
    BUFFER = "buffer not finite"
    LOSS_SPIKE = "loss spike"
    NORM_SPIKE = "gradient spike"

    @property
    def bad(self) -> bool:
        """Whether the optimizer must not see it."""
        return self not in (Kind.GOOD, Kind.SHIFT)

    @property
    def spike(self) -> bool:
        """Bad, but finite."""
        return self in (Kind.LOSS_SPIKE, Kind.NORM_SPIKE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is seen of one step.

    Attributes:
        loss: Mean over its batches and over all processes; None where nobody may look.
        norm: Of the whole gradient, before it is clipped.
        largest: Of the buffers, by absolute value; None where nobody may look.
    """

    loss: float | None
    norm: float
    largest: float | None = None


def limit(values: Sequence[float], *, factor: float, floor: float) -> float:
    """The value above which another one is a spike: the median and `factor` deviations.

    Deviations are 1.4826 MAD, at least `floor` of the median; where all values are positive, of their logarithms.

    Args:
        values: At least one; finite.
        factor: Deviations.
        floor: Least deviation, as a part of the median.
    """
    if min(values) > 0:
        logs = [math.log(value) for value in values]
        middle = median(logs)
        deviation = max(MAD * median(abs(value - middle) for value in logs), floor)
        return math.exp(min(middle + factor * deviation, 700.0))
    middle = median(values)
    deviation = MAD * median(abs(value - middle) for value in values)
    return middle + factor * max(deviation, floor * abs(middle))


class Levels:
    """What is usual of one optimizer's steps.

    Args:
        factor: Deviations that make a spike; None: no spikes.
        window: Good steps that are looked back at.
    """

    def __init__(self, *, factor: float | None, window: int) -> None:
        self._factor, self._window = factor, window
        self._losses: list[float] = []
        self._norms: list[float] = []
        self._aside: list[tuple[float | None, float]] = []

    @property
    def usual_loss(self) -> float | None:
        """The median; None before the first good step."""
        return median(self._losses) if self._losses else None

    @property
    def usual_norm(self) -> float | None:
        """The median; None before the first good step."""
        return median(self._norms) if self._norms else None

    def judge(self, seen: Seen) -> Kind:
        """What this step is. Changes nothing."""
        kind = self.alone(seen)
        return Kind.SHIFT if kind.spike and len(self._aside) >= SHIFT else kind

    def alone(self, seen: Seen) -> Kind:
        """The same, whatever lies aside."""
        loss, norm, factor = seen.loss, seen.norm, self._factor
        if loss is not None and not math.isfinite(loss):
            return Kind.LOSS
        if not norm < LARGEST:
            return Kind.GRADIENT
        if seen.largest is not None and not math.isfinite(seen.largest):
            return Kind.BUFFER
        if factor is None:
            return Kind.GOOD
        if loss is not None and self._beyond(loss, self._losses, factor, LOSS_FLOOR):
            return Kind.LOSS_SPIKE
        return Kind.NORM_SPIKE if self._beyond(norm, self._norms, factor, NORM_FLOOR) else Kind.GOOD

    def take(self, seen: Seen, kind: Kind) -> None:
        """Goes on after a step that was judged so: good values are kept, spikes lie aside, all else is forgotten."""
        if kind.spike:
            self._aside.append((seen.loss, seen.norm))
        elif kind is Kind.SHIFT:
            self._losses = [loss for loss, _ in self._aside if loss is not None]
            self._norms = [norm for _, norm in self._aside]
        if not kind.bad:
            self._aside.clear()
            self._norms.append(seen.norm)
            if seen.loss is not None:
                self._losses.append(seen.loss)
            del self._norms[: -self._window], self._losses[: -self._window]

    def state(self) -> dict[str, Any]:
        """In plain numbers."""
        return {"losses": [*self._losses], "norms": [*self._norms], "aside": [[*pair] for pair in self._aside]}

    def load(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        self._losses, self._norms = [*state["losses"]], [*state["norms"]]
        self._aside = [(loss, norm) for loss, norm in state["aside"]]

    @staticmethod
    def _beyond(value: float, values: Sequence[float], factor: float, floor: float) -> bool:
        if len(values) < LEAST:
            return False
        ordered = sorted(values)
        # What is not above the median by the floor alone is none, and costs no deviations.
        least = ordered[(len(ordered) - 1) // 2] * (1 + factor * floor if ordered[0] > 0 else 1)
        return value > least and value > limit(values, factor=factor, floor=floor)
