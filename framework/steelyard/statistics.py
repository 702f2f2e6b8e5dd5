"""Intervals that the field trusts; thin names over SciPy so that every plugin uses the same ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from steelyard.measurement import Better, Measurement, Status

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


def clopper_pearson(successes: float, count: int, *, level: float = 0.95) -> tuple[float, float]:
    """The exact interval of a proportion (Clopper and Pearson 1934); its coverage is never below `level`.

    Args:
        successes: 0 to `count`, a whole number (of others see `share_interval`).
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


def share_interval(shares: NDArray[Any], *, level: float = 0.95) -> tuple[float, float]:
    """The Clopper-Pearson interval of a mean of numbers in [0, 1], as if their sum were a count of successes.

    Of all such numbers with one mean, those that are 0 or 1 vary most, so that the interval is wide enough for the
    others; and it keeps its width where all are equal, as Student's does not.

    Args:
        shares: At least one (N,).
        level: Between 0 and 1.
    """
    count = len(shares)
    # Rounding may have left the range.
    return clopper_pearson(min(max(float(shares.sum()), 0.0), float(count)), count, level=level)


def mean_interval(
    values: Tensor, *, level: float = 0.95, low: float = -math.inf, high: float = math.inf
) -> tuple[float, tuple[float, float] | None]:
    """The mean of (N,) values and its Student interval, as far as the values can go at all.

    Equal values, or a single one, tell nothing of their spread. Between two ends the interval is then that of shares of
    the way from one to the other (`share_interval`); without ends there is none.

    For paired values (two numbers of the same example) hand in their differences.

    Args:
        values: At least one.
        level: Between 0 and 1.
        low: The smallest possible value.
        high: The largest possible value.
    """
    return interval_round_mean(values.detach().cpu().double().numpy(), level=level, low=low, high=high)


def interval_round_mean(
    values: NDArray[Any], *, level: float = 0.95, low: float = -math.inf, high: float = math.inf
) -> tuple[float, tuple[float, float] | None]:
    """What `mean_interval` gives, for whom torch is too heavy."""
    mean = float(values.mean())
    if (values == values[0]).all():
        if math.isinf(high - low):
            return mean, None
        ends = share_interval((values - low) / (high - low), level=level)
        return mean, (low + (high - low) * ends[0], low + (high - low) * ends[1])
    from scipy import stats

    student: Any = stats.t
    count = len(values)
    half = float(student.ppf((1 + level) / 2, count - 1)) * float(values.std(ddof=1)) / math.sqrt(count)
    return mean, (max(low, mean - half), min(high, mean + half))


def resampled(scores: Any, *, level: float = 0.95) -> tuple[float, float] | None:
    """The percentile interval of the scores (D,) of resampled examples; None where all are equal.

    Examples that are drawn again and again give nothing that is not among them: of a model that was always right they
    say that it always is.
    """
    import numpy as np

    low, high = (float(end) for end in np.quantile(scores, [(1 - level) / 2, (1 + level) / 2]))
    return (low, high) if low < high else None


BOOTSTRAP_SEED = 12345
"""The same for every run, so that runs on the same examples draw the same ones and differ by their answers alone."""


def bootstrap(
    rows: NDArray[Any],
    score: Callable[[NDArray[Any]], float],
    *,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = BOOTSTRAP_SEED,
) -> tuple[float, tuple[float, float] | None]:
    """A score of a whole corpus, and its percentile interval over resampled examples (Koehn 2004).

    There is none where all of them have the same score, as of a single example.

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
    # How often each example is drawn says as much as which ones are, and sums all corpora at once.
    times = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=draws)
    return value, resampled([score(total) for total in times @ rows], level=level)


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
