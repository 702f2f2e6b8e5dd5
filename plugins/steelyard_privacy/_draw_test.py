# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Are the examples drawn as the accountant was told?"""

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, chi2


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
        self._draws, self._examples = 0, 0
        self._least, self._most = 0.0, 0.0
        self._asked, self._again = 0, 0

    @property
    def drawn(self) -> Drawn:
        """What was seen so far."""
        return Drawn(examples=self._examples, chances=self._draws * self._population, rate=self._rate)

    def add(self, now: NDArray[np.int64]) -> None:
        """Looks at one draw: the places in the population of those who were drawn, each once."""
        expected = self._population * self._rate
        self._draws += 1
        self._examples += len(now)
        if self._rate < 1:
            # A size stands for all that is rounded to it, so that two batches of just the expected size accuse nobody.
            off, variance = abs(len(now) - expected), expected * (1 - self._rate)
            self._least += max(0.0, off - 0.5) ** 2 / variance
            self._most += (off + 0.5) ** 2 / variance
        if self._before is not None:
            self._asked += len(self._before)
            self._again += len(np.intersect1d(self._before, now, assume_unique=True))
        self._before = now

    def chances(self) -> dict[str, float]:
        """Probability of what was seen, or worse, under Poisson sampling; two-sided.

        The number drawn in all and the number drawn twice in succession are binomial, exactly. The spread of the sizes
        is held against a scaled chi-square of the same mean and variance, which is close where batches are not tiny;
        each size is given half an example in favour of the run.
        """
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
