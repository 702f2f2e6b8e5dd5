"""What a change costs in marks, example by example."""

from typing import Any

from scipy import stats
from torch import Tensor


def paired_loss(before: Tensor, after: Tensor, *, level: float = 0.95) -> tuple[float, tuple[float, float]]:
    """The mean of (N,) marks before minus after, with an interval that keeps its width where nothing changed.

    What was lost and what was gained are two means of numbers in [0, 1]; each gets half of the error probability
    (Bonferroni) and the exact interval of Clopper and Pearson (1934), as if its sum were a count of successes: of all
    such numbers with one mean, those that are 0 or 1 vary most. The two extreme differences bound the loss.

    Args:
        before: Marks from 0 to 1.
        after: Those of the same examples.
        level: Between 0 and 1.
    """
    change = (before - after).double()
    lost, gained = change.clamp(min=0), (-change).clamp(min=0)
    each = (1 + level) / 2
    lost_low, lost_high = _interval(lost, each)
    gained_low, gained_high = _interval(gained, each)
    return float(change.mean()), (lost_low - gained_high, lost_high - gained_low)


def _interval(shares: Tensor, level: float) -> tuple[float, float]:
    beta: Any = stats.beta
    count, total = len(shares), float(shares.sum())
    tail = (1 - level) / 2
    low = 0.0 if total <= 0 else float(beta.ppf(tail, total, count - total + 1))
    high = 1.0 if total >= count else float(beta.ppf(1 - tail, total + 1, count - total))
    return low, high
