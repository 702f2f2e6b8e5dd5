"""Learning rate schedules over the whole run, in fractions of its steps.

The rate in `optimizer.lr` is the highest one; a schedule multiplies it by a factor from 0 to 1. How many steps there
are, the Trainer knows, so a longer run needs no other schedule.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from steelyard.problem import refuse


@dataclass(frozen=True, kw_only=True)
class Schedule(ABC):
    """The learning rate as a function of the part of the run that is over.

    Attributes:
        warmup: Part of the steps in which the rate climbs in a line from near 0.

    Raises:
        Refused: If `warmup` is no fraction.
    """

    warmup: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.warmup < 1:
            raise refuse(f"scheduler.warmup is {self.warmup:g}, must be in [0, 1)", fix="scheduler.warmup=0.1")

    def __call__(self, optimizer: Optimizer, *, steps: int) -> LRScheduler:
        """The schedule of `steps` optimizer steps; it is to be stepped after each of them."""
        first = round(self.warmup * steps)

        def factor(step: int) -> float:
            if step < first:
                return (step + 1) / (first + 1)
            return self.after(min(1.0, (step - first) / max(1, steps - first)))

        return LambdaLR(optimizer, factor)

    @abstractmethod
    def after(self, part: float) -> float:
        """The factor when this part (0 to 1) of the steps after the warm-up is over."""


@final
@dataclass(frozen=True, kw_only=True)
class Constant(Schedule):
    """The full rate, after the warm-up."""

    def after(self, part: float) -> float:
        """Always 1."""
        return 1.0


@final
@dataclass(frozen=True, kw_only=True)
class Linear(Schedule):
    """Down in a line.

    Attributes:
        final: The factor at the end.
    """

    final: float = 0.0

    def after(self, part: float) -> float:
        """From 1 to `final`."""
        return 1 + (self.final - 1) * part


@final
@dataclass(frozen=True, kw_only=True)
class Cosine(Schedule):
    """Down along half a cosine (Loshchilov and Hutter 2017), without restarts.

    Attributes:
        final: The factor at the end.
    """

    final: float = 0.0

    def after(self, part: float) -> float:
        """From 1 to `final`."""
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * part)) / 2


@final
@dataclass(frozen=True, kw_only=True)
class OneCycle(Schedule):
    """Up to the full rate and down below where it began, momentum the other way round (Smith and Topin 2018).

    Attributes:
        warmup: Part of the steps that go up.
    """

    warmup: float = 0.3

    def __call__(self, optimizer: Optimizer, *, steps: int) -> LRScheduler:
        """PyTorch's OneCycleLR; momentum, or Adam's first beta, goes from 0.95 to 0.85 and back."""
        highest = [float(group["lr"]) for group in optimizer.param_groups]
        turns = all("betas" in group or group.get("momentum", 0) > 0 for group in optimizer.param_groups)
        # One more step than there are: Lightning may step the schedule once at the very end.
        return OneCycleLR(optimizer, max_lr=highest, total_steps=steps + 1, pct_start=self.warmup, cycle_momentum=turns)

    def after(self, part: float) -> float:
        """Not used: PyTorch's own class turns the rate and the momentum."""
        raise NotImplementedError
