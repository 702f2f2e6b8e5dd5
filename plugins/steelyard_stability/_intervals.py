"""Intervals of paired differences and of means of shares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from steelyard.statistics import clopper_pearson

if TYPE_CHECKING:
    from torch import Tensor


def paired_drop(*, lost: int, gained: int, count: int, level: float = 0.95) -> tuple[float, tuple[float, float]]:
    """(lost - gained) / count with an interval that never covers less often than `level`.

    Each of the two proportions gets half of the error probability (Bonferroni) and its exact interval; the two extreme
    differences bound the drop. Unlike a bootstrap or t interval it keeps its width where nothing was lost.

    Args:
        lost: Examples that were right and became wrong.
        gained: Examples that were wrong and became right.
        count: All examples.
        level: Between 0 and 1.
    """
    each = (1 + level) / 2
    lost_low, lost_high = clopper_pearson(lost, count, level=each)
    gained_low, gained_high = clopper_pearson(gained, count, level=each)
    return (lost - gained) / count, (lost_low - gained_high, lost_high - gained_low)


def share_interval(shares: Tensor, *, level: float = 0.95) -> tuple[float, tuple[float, float]]:
    """The mean of (N,) numbers in [0, 1] and its Clopper-Pearson interval, as if their sum were a count of successes.

    Of all such numbers with one mean, those that are 0 or 1 vary most, so that the interval is wide enough for the
    others; and it keeps its width where all are equal, as Student's does not.
    """
    from scipy import stats

    beta: Any = stats.beta
    count, total = len(shares), float(shares.double().sum())
    tail = (1 - level) / 2
    low = 0.0 if total <= 0 else float(beta.ppf(tail, total, count - total + 1))
    high = 1.0 if total >= count else float(beta.ppf(1 - tail, total + 1, count - total))
    return total / count, (low, high)
