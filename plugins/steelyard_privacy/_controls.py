# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Controls of a private training: each knows what must be seen if the account is right, and is asked after the fit.

They see what goes in and out of the steps, and nothing of how they are taken.
"""

import hashlib
import math
from collections.abc import Iterator
from typing import Any, final

import numpy as np
import torch
from scipy.stats import chi2, norm
from torch import Tensor

from steelyard.measurement import Better, Measurement
from steelyard.statistics import clopper_pearson
from steelyard_privacy._draw_test import DrawTest

FALSE_ALARM = 1e-4
"""Of all statistical controls of a run together."""
TESTS = 6
KEPT = 2**15
"""Coordinates, times steps, that wait to be looked at."""
PER_WEIGHT = 64
"""Coordinates of each parameter that are looked at, the same in every step."""


@final
class NoiseControl:
    """Holds the noise of each parameter against its promised size, and against the noise of the step before.

    The noise of a step is independent of the one before, so that their product over the length of the older one is
    normal, exactly; noise that is used again shows after a step.
    """

    def __init__(self) -> None:
        self._sizes: tuple[int, ...] = ()
        self._places = self._owners = torch.empty(0, dtype=torch.long)
        self._squares = torch.empty(0, dtype=torch.float64)
        self._steps, self._products, self._pairs = 0, 0.0, 0
        self._waiting: list[Tensor] = []
        self._scales: list[float] = []
        self._before: Tensor | None = None

    def begin(self, sizes: tuple[int, ...], device: torch.device) -> None:
        """Says which weights are trained, by the numbers of each parameter; where others are, it begins anew."""
        if sizes != self._sizes:
            self._begin(sizes, device)

    def picked(self, vector: Tensor) -> Tensor:
        """What it looks at of all weights."""
        return vector.take(self._places)

    def add(self, noise: Tensor, *, scale: float) -> None:
        """Looks at the noise of one step.

        Args:
            noise: Of the weights, flat, or what is picked of it.
            scale: The promised standard deviation, above 0.
        """
        self._waiting.append(noise)
        self._scales.append(scale)
        self._steps += 1
        if len(self._waiting) * noise.shape[0] >= KEPT:
            self._gather()

    def _gather(self) -> None:
        """Adds up the steps that were seen since; many at once, since each operation costs more than its numbers."""
        if not self._waiting:
            return
        found = torch.stack(self._waiting).cpu().double()
        noise = found if found.shape[1] == len(self._places) else found[:, self._places.cpu()]
        noise /= torch.tensor(self._scales, dtype=torch.float64)[:, None]
        self._squares.index_add_(0, self._owners, noise.square().sum(dim=0))
        series = noise if self._before is None else torch.cat([self._before[None], noise])
        older, newer = series[:-1], series[1:]
        lengths = older.norm(dim=1)
        known = lengths > 0
        self._products += float(((older * newer).sum(dim=1)[known] / lengths[known]).sum())
        self._pairs += int(known.sum())
        self._before = noise[-1]
        self._waiting.clear()
        self._scales.clear()

    def chances(self) -> dict[str, float]:
        """Probability of what was seen, or worse, under fresh noise of the promised size."""
        self._gather()
        found: dict[str, float] = {}
        if self._pairs:
            z = self._products / math.sqrt(self._pairs)
            found["the likeness of the noise of successive steps"] = 2 * float(norm.sf(abs(z)))
        if self._steps:
            freedom = np.asarray([min(size, PER_WEIGHT) * self._steps for size in self._sizes if size])
            squares = self._squares.numpy()[[place for place, size in enumerate(self._sizes) if size]]
            tails: Any = np.minimum(chi2.cdf(squares, freedom), chi2.sf(squares, freedom))
            worst = 2 * float(np.min(np.nan_to_num(tails, nan=0.0)))
            found["the size of the noise of one parameter"] = min(1.0, worst * len(freedom))
        return found

    def _begin(self, sizes: tuple[int, ...], device: torch.device) -> None:
        ends = np.cumsum([0, *sizes])
        parts = [torch.arange(min(size, PER_WEIGHT)) + int(start) for size, start in zip(sizes, ends[:-1], strict=True)]
        self._sizes = sizes
        self._places = torch.cat(parts).to(device)
        self._owners = torch.cat([torch.full((len(part),), place) for place, part in enumerate(parts)])
        self._squares = torch.zeros(len(sizes), dtype=torch.float64)
        self._steps, self._products, self._pairs, self._before = 0, 0.0, 0, None
        self._waiting.clear()
        self._scales.clear()


@final
class Controls:
    """All controls of one training.

    Args:
        population: Number of examples that can be drawn.
        rate: The probability of each that is accounted for.
    """

    def __init__(self, *, population: int, rate: float) -> None:
        self.draws = DrawTest(population=population, rate=rate)
        self.noise = NoiseControl()
        self.steps_taken = 0
        self.sensitivity: float | None = None
        self.slack = 0.0
        self._seal: str | None = None

    def restored(self, seal: str | None) -> None:
        """Remembers under which terms the account was written that the training goes on with."""
        self._seal = seal

    def complaints(self, *, steps: int, seal: str) -> list[str]:
        """What contradicts the account.

        Args:
            steps: That are accounted for.
            seal: Of the terms that are reported.
        """
        tests = {**self.draws.chances(), **self.noise.chances()}
        found = [
            f"{name} is not what was accounted for (p < {FALSE_ALARM / TESTS:.0e})"
            for name, chance in tests.items()
            if not chance >= FALSE_ALARM / TESTS
        ]
        if self.sensitivity is not None and not abs(self.sensitivity - 1) <= self.slack:
            found.append(f"an example moves the clipped sum by {self.sensitivity:.3g} clipping norms instead of one")
        if self.steps_taken > steps:
            found.append(f"{self.steps_taken} steps were taken and {steps} are accounted for")
        if self._seal is not None and self._seal != seal:
            found.append("the account was begun under other terms: rate, noise or delta have changed on resume")
        return found

    def measurements(self, found: list[str]) -> Iterator[Measurement]:
        """What the controls saw; the size of the noise stays here, since it would help to take the noise off."""
        drawn = self.draws.drawn
        if drawn.chances:
            yield Measurement(
                name="drawn_rate",
                value=drawn.examples / drawn.chances,
                interval=clopper_pearson(drawn.examples, drawn.chances),
                count=drawn.chances,
                split="train",
                note=f"control: the share of examples that a step drew; {drawn.rate:.4g} is accounted for",
            )
        if self.sensitivity is not None:
            yield Measurement(
                name="sensitivity",
                value=self.sensitivity,
                unit="clipping norms",
                split="train",
                note="control: how far removing one of a few examples moves the clipped sum, tried at the first steps; "
                "must be 1",
            )
        yield Measurement(
            name="controls_failed",
            value=float(len(found)),
            better=Better.LOWER,
            note="; ".join(found)
            or f"noise, sampling, sensitivity, number of steps and terms; {FALSE_ALARM:g} false alarms a run",
            meaning="How many of the run's own checks contradict the promise",
        )


def seal(*, rate: float, noise_multiplier: float, delta: float, population: int) -> str:
    """A fingerprint of the terms of an account, which the checkpoint keeps beside them."""
    return hashlib.sha256(f"{rate!r}:{noise_multiplier!r}:{delta!r}:{population}".encode()).hexdigest()
