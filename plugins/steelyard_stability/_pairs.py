"""Differences between configs whose runs answered the same questions."""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from steelyard.trials.paired import mcnemar
from steelyard_stability._intervals import paired_drop
from steelyard_stability.seeds import ENOUGH

Marks = NDArray[np.float64]
"""How right each answer is: (seeds, examples)."""


class Verdict(StrEnum):
    """What the data decide about two configs."""

    INCONCLUSIVE = "inconclusive"
    HERE = "different for these seeds alone"
    ROBUST = "robust difference"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How much righter one config is than another.

    Attributes:
        value: Mean mark of the first less that of the second.
        interval: At 95 %; over examples and, where there are several, over seeds.
        verdict: See `Verdict`.
        how: How the interval came about.
    """

    value: float
    interval: tuple[float, float]
    verdict: Verdict
    how: str


def spread(marks: Marks, *, level: float = 0.95) -> tuple[float, tuple[float, float]]:
    """The mean over seeds and examples, and its interval over both.

    Two of Student's half-widths, of the S seeds' means and of the N examples' means, are added in squares. The first
    has some of the second in it, so that the interval is rather too wide.

    Args:
        marks: (S, N).
        level: Between 0 and 1.
    """
    return float(marks.mean()), _around(float(marks.mean()), [marks], level)


def difference(one: Marks, other: Marks, *, paired: bool) -> Difference:
    """What two configs on the same examples say of each other.

    Args:
        one: (S, N).
        other: (T, N).
        paired: Whether both have the same seeds, in the same order.
    """
    value = float(one.mean() - other.mean())
    few = min(len(one), len(other))
    if few == 1:
        interval, how, apart = _of_single_seeds(one.mean(axis=0), other.mean(axis=0))
    elif paired:
        interval, how = _around(value, [one - other], 0.95), f"{few} pairs of one seed each, and the examples"
        apart = not interval[0] <= 0 <= interval[1]
    else:
        interval, how = _around(value, [one, other], 0.95), f"{len(one)} against {len(other)} seeds, and the examples"
        apart = not interval[0] <= 0 <= interval[1]
    verdict = Verdict.INCONCLUSIVE if not apart else Verdict.ROBUST if few >= ENOUGH else Verdict.HERE
    return Difference(value=value, interval=interval, verdict=verdict, how=how)


def _of_single_seeds(one: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[tuple[float, float], str, bool]:
    if bool(np.isin([one, other], [0.0, 1.0]).all()):
        lost, gained = int((one > other).sum()), int((one < other).sum())
        chance = mcnemar(lost, gained)
        interval = paired_drop(lost=lost, gained=gained, count=len(one))[1]
        how = (
            f"{lost} examples right in the first alone, {gained} in the second alone, McNemar's exact p = {chance:.3g}"
        )
        return interval, f"{how}; one seed says nothing of another", chance < 0.05
    apart = one - other
    interval = _around(float(apart.mean()), [apart[None]], 0.95)
    return interval, "over the examples; one seed says nothing of another", not interval[0] <= 0 <= interval[1]


def _around(value: float, parts: list[Marks], level: float) -> tuple[float, float]:
    """`value` with the half-widths of seeds (S of each part) and of examples (N, of the parts' difference)."""
    seeds = sum((_half(part.mean(axis=1), level) ** 2 for part in parts if len(part) > 1), 0.0)
    means = [part.mean(axis=0) for part in parts]
    examples = _half(means[0] if len(means) == 1 else means[0] - means[1], level) ** 2
    half = math.sqrt(seeds + examples)
    return value - half, value + half


def _half(values: NDArray[np.float64], level: float) -> float:
    """Half the width of Student's interval of a mean; of a single value nothing is known."""
    if len(values) < 2:
        return math.inf
    student: Any = stats.t
    return float(student.ppf((1 + level) / 2, len(values) - 1)) * float(values.std(ddof=1)) / math.sqrt(len(values))
