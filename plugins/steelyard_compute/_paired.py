"""What a change costs in marks, example by example."""

from torch import Tensor

from steelyard.statistics import share_interval


def paired_loss(before: Tensor, after: Tensor, *, level: float = 0.95) -> tuple[float, tuple[float, float]]:
    """The mean of (N,) marks before minus after, with an interval that keeps its width where nothing changed.

    What was lost and what was gained are two means of numbers in [0, 1]; each gets half of the error probability
    (Bonferroni) and the interval of `share_interval`. The two extreme differences bound the loss.

    Args:
        before: Marks from 0 to 1.
        after: Those of the same examples.
        level: Between 0 and 1.
    """
    change = (before - after).double()
    lost, gained = change.clamp(min=0), (-change).clamp(min=0)
    each = (1 + level) / 2
    lost_low, lost_high = share_interval(lost.numpy(), level=each)
    gained_low, gained_high = share_interval(gained.numpy(), level=each)
    return float(change.mean()), (lost_low - gained_high, lost_high - gained_low)
