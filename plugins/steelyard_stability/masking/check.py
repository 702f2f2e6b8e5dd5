"""The result of one test of an attack."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A number that an honest model keeps below a limit.

    Attributes:
        name: Lower case words joined by underscores.
        value: What was found.
        limit: What must not be exceeded.
        words: What it means that it is: "the gradient is not the slope of the loss".
    """

    name: str
    value: float
    limit: float
    words: str

    @property
    def flagged(self) -> bool:
        """Whether the attack is not to be believed; what is no number is none to believe either."""
        return not self.value <= self.limit


def surplus(*, other: int, ours: int) -> float:
    """How surely another attack is better: 1 minus the one-sided p of McNemar's exact test.

    Args:
        other: Examples that only the other attack fools.
        ours: Examples that only the attack in question fools.
    """
    count = other + ours
    # P(at least `other` heads in `count` tosses), added up exactly in whole numbers.
    tail = sum(math.comb(count, heads) for heads in range(other, count + 1)) / 2**count
    return 1 - tail
