"""Intervals that the field trusts; thin names over SciPy so that every plugin uses the same ones."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from steelyard.measurement import Better, Measurement

if TYPE_CHECKING:
    from torch import Tensor


def clopper_pearson(successes: int, count: int, *, level: float = 0.95) -> tuple[float, float]:
    """The exact interval of a proportion (Clopper and Pearson 1934); its coverage is never below `level`.

    Args:
        successes: 0 to `count`.
        count: Trials, at least 1.
        level: Between 0 and 1.

    Raises:
        ValueError: If `successes` or `count` is out of range.
    """
    if count < 1 or not 0 <= successes <= count:
        raise ValueError(f"{successes} successes of {count} trials")
    from scipy import stats

    beta: Any = stats.beta
    tail = (1 - level) / 2
    low = 0.0 if successes == 0 else float(beta.ppf(tail, successes, count - successes + 1))
    high = 1.0 if successes == count else float(beta.ppf(1 - tail, successes + 1, count - successes))
    return low, high


def mean_interval(values: Tensor, *, level: float = 0.95) -> tuple[float, tuple[float, float] | None]:
    """The mean of (N,) values and its Student interval; None for a single value.

    For paired values (two numbers of the same example) hand in their differences.
    """
    exact = values.double()
    mean = float(exact.mean())
    if len(exact) < 2:
        return mean, None
    from scipy import stats

    student: Any = stats.t
    half = float(student.ppf((1 + level) / 2, len(exact) - 1)) * float(exact.std(correction=1)) / math.sqrt(len(exact))
    return mean, (mean - half, mean + half)


def proportion(
    name: str,
    successes: int,
    count: int,
    *,
    better: Better | None,
    split: str | None,
    at: dict[str, str | float] | None = None,
    note: str = "",
    meaning: str = "",
) -> Measurement:
    """A fraction as a measurement with its Clopper-Pearson interval."""
    return Measurement(
        name=name,
        value=successes / count,
        better=better,
        interval=clopper_pearson(successes, count),
        count=count,
        at=at or {},
        split=split,
        note=note,
        meaning=meaning,
    )
