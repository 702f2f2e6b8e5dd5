# pyright: reportUnknownMemberType=false
"""Step times and what can be said of them."""

import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from scipy import stats
from torch import Tensor

from steelyard.devices import wait_for

KEPT = 10_000
"""Step times that are kept, the latest; the checkpoint carries them."""


@dataclass(slots=True)
class Clock:
    """Time of training, across resumes.

    Attributes:
        steps: Seconds inside the latest steps.
        examples: Examples in all timed steps.
        inside: Seconds inside all timed steps.
        training: Seconds from the start to the end of training.
    """

    steps: deque[float] = field(default_factory=lambda: deque[float](maxlen=KEPT))
    examples: int = 0
    inside: float = 0.0
    training: float = 0.0

    def add(self, seconds: float, *, examples: int) -> None:
        """One more step."""
        self.steps.append(seconds)
        self.inside += seconds
        self.examples += examples

    def state(self) -> dict[str, Any]:
        """Plain numbers and one tensor, for the checkpoint."""
        return {
            "steps": torch.tensor(list(self.steps), dtype=torch.float64),
            "examples": self.examples,
            "inside": self.inside,
            "training": self.training,
        }

    def load(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        steps = state["steps"]
        assert isinstance(steps, Tensor)
        self.steps = deque(map(float, steps), maxlen=KEPT)
        self.examples, self.inside, self.training = state["examples"], state["inside"], state["training"]


class Laps:
    """Puts steps on a clock; on a GPU by marks in its own queue (CUDA events), so that training never waits for it.

    Args:
        clock: Gets each step when its time is known.
        device: That the steps run on.
    """

    def __init__(self, clock: Clock, device: torch.device) -> None:
        self._clock, self._device = clock, device
        self._open: deque[tuple[Any, Any, int]] = deque()

    def mark(self) -> Any:
        """Now, in the order of what the device does."""
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event

    def add(self, began: Any, ended: Any, *, examples: int) -> None:
        """A step between two marks."""
        self._open.append((began, ended, examples))
        while self._open and (self._device.type != "cuda" or self._open[0][1].query()):
            self._tell(*self._open.popleft())

    def settle(self) -> None:
        """Waits for the device, and for all steps that have ended."""
        wait_for(self._device)
        while self._open:
            self._tell(*self._open.popleft())

    def _tell(self, began: Any, ended: Any, examples: int) -> None:
        cuda = self._device.type == "cuda"
        self._clock.add(began.elapsed_time(ended) / 1000 if cuda else ended - began, examples=examples)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How a number is distributed.

    Attributes:
        median: Its median.
        interval: Distribution-free interval of the median; None where there are too few values for one.
        quartiles: The middle half.
    """

    median: float
    interval: tuple[float, float] | None
    quartiles: tuple[float, float]


def spread(values: Sequence[float], *, level: float = 0.95) -> Spread:
    """Median, the interval of the median by order statistics (exact for independent values), and quartiles."""
    ordered = torch.tensor(sorted(values), dtype=torch.float64)
    count = len(ordered)
    # The median lies between the k-th smallest and the k-th largest unless fewer than k values fall on one side.
    k = int(stats.binom.ppf((1 - level) / 2, count, 0.5))
    while k > 0 and 2 * float(stats.binom.cdf(k - 1, count, 0.5)) > 1 - level:
        k -= 1
    low, middle, high = (float(torch.quantile(ordered, part)) for part in (0.25, 0.5, 0.75))
    return Spread(
        median=middle,
        interval=(float(ordered[k - 1]), float(ordered[count - k])) if k else None,
        quartiles=(low, high),
    )


def in_words(seconds: float) -> str:
    """Seconds with a unit that suits them."""
    if seconds and math.isfinite(seconds) and seconds < 0.1:
        return f"{seconds * 1000:.3g} ms"
    return f"{seconds:.3g} s"
