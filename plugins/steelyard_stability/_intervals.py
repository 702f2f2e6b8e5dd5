"""Intervals of paired differences."""

from __future__ import annotations

from steelyard.statistics import clopper_pearson


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
