"""Intervals that the field trusts; thin names over SciPy so that every plugin uses the same ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from steelyard.measurement import Better, Measurement, Status

if TYPE_CHECKING:
    from numpy.typing import NDArray
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


BOOTSTRAP_SEED = 12345
"""The same for every run, so that runs on the same examples draw the same ones and differ by their answers alone."""


def within(interval: tuple[float, float] | None, low: float, high: float) -> tuple[float, float] | None:
    """An interval as far as the number can go at all."""
    return interval and (max(low, interval[0]), min(high, interval[1]))


def bootstrap(
    rows: NDArray[Any],
    score: Callable[[NDArray[Any]], float],
    *,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = BOOTSTRAP_SEED,
) -> tuple[float, tuple[float, float] | None]:
    """A score of a whole corpus, and its percentile interval over resampled examples (Koehn 2004).

    A single example has no interval.

    Args:
        rows: What each example adds (N, K), e.g. its counts of matches.
        score: The score of a corpus from the sum (K,) over its examples.
        draws: Corpora that are drawn, each of N examples with replacement.
        level: Between 0 and 1.
        seed: Of the draws.
    """
    import numpy as np

    count = len(rows)
    value = score(rows.sum(axis=0))
    if count < 2:
        return value, None
    # How often each example is drawn says as much as which ones are, and sums all corpora at once.
    times = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=draws)
    scores = [score(total) for total in times @ rows]
    low, high = np.quantile(scores, [(1 - level) / 2, (1 + level) / 2])
    return value, (float(low), float(high))


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
    status: Status = Status.MEASURED,
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
        status=status,
    )
