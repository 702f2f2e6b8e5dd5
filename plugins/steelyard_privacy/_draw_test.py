# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Are the examples drawn as the accountant was told?"""

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, chi2

KEPT = 2**13
"""Examples that wait to be looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """How many examples were drawn in all.

    Attributes:
        examples: Over all draws.
        chances: Examples times draws: each of them should have come true with probability `rate`.
        rate: What the accountant was told.
    """

    examples: int
    chances: int
    rate: float


@final
class DrawTest:
    """Three tests of Poisson sampling; shuffled epochs, fixed sizes and another rate fail one of them.

    Args:
        population: Number of examples that can be drawn.
        rate: The probability of each, above 0.
    """

    def __init__(self, *, population: int, rate: float) -> None:
        self._population = population
        self._rate = rate
        self._before: NDArray[np.int64] | None = None
        self._waiting: list[NDArray[np.int64]] = []
        self._kept = 0
        self._draws, self._examples = 0, 0
        self._least, self._most = 0.0, 0.0
        self._asked, self._again = 0, 0

    @property
    def drawn(self) -> Drawn:
        """What was seen so far."""
        self._gather()
        return Drawn(examples=self._examples, chances=self._draws * self._population, rate=self._rate)

    def add(self, now: NDArray[np.int64]) -> None:
        """Looks at one draw: the places in the population of those who were drawn, each once."""
        self._waiting.append(now)
        self._kept += len(now) + 1
        if self._kept >= KEPT:
            self._gather()

    def _gather(self) -> None:
        """Adds up the draws that were seen since; many at once, since each operation costs more than its numbers."""
        if not self._waiting:
            return
        sizes = np.asarray([len(now) for now in self._waiting])
        self._draws += len(sizes)
        self._examples += int(sizes.sum())
        if self._rate < 1:
            # A size stands for all that is rounded to it, so that two batches of just the expected size accuse nobody.
            expected = self._population * self._rate
            off, variance = np.abs(sizes - expected), expected * (1 - self._rate)
            self._least += float((np.maximum(0.0, off - 0.5) ** 2).sum() / variance)
            self._most += float(((off + 0.5) ** 2).sum() / variance)
        series = self._waiting if self._before is None else [self._before, *self._waiting]
        # Every draw from a copy of the population of its own: who stands in two that follow each other came again.
        places = np.concatenate([now + number * self._population for number, now in enumerate(series)])
        self._asked += len(places) - len(series[-1])
        self._again += len(np.intersect1d(places, places + self._population, assume_unique=True))
        self._before = series[-1]
        self._waiting, self._kept = [], 0

    def chances(self) -> dict[str, float]:
        """Probability of what was seen, or worse, under Poisson sampling; two-sided.

        The number drawn in all and the number drawn twice in succession are binomial, exactly. The spread of the sizes
        is held against a scaled chi-square of the same mean and variance, which is close where batches are not tiny;
        each size is given half an example in favour of the run.
        """
        self._gather()
        found: Any = {
            "the rate at which examples are drawn": self._two_sided(self._examples, self._draws * self._population),
            "the rate at which an example is drawn again in the next step": self._two_sided(self._again, self._asked),
        }
        if self._rate < 1 and self._draws:
            excess = (1 - 6 * self._rate * (1 - self._rate)) / (self._population * self._rate * (1 - self._rate))
            scale = 1 + excess / 2
            freedom = self._draws / scale
            tails = chi2.cdf(self._most / scale, freedom), chi2.sf(self._least / scale, freedom)
            found["the spread of the sizes of the batches"] = min(1.0, 2 * float(min(tails)))
        return found

    def _two_sided(self, hits: int, trials: int) -> float:
        if not trials:
            return 1.0
        tails = binom.cdf(hits, trials, self._rate), binom.sf(hits - 1, trials, self._rate)
        return min(1.0, 2 * float(min(tails)))
