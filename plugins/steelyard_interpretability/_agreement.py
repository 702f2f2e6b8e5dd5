# pyright: reportUnknownMemberType=false
"""Numbers over examples: means with intervals, medians, rank agreement."""

import math

import numpy as np
from scipy import stats
from torch import Tensor


def mean_interval(values: Tensor, *, level: float = 0.95) -> tuple[float, tuple[float, float] | None]:
    """The mean over examples and its Student t interval; None for a single example.

    For paired values (two curves of the same example) hand in their differences.
    """
    count, mean = len(values), float(values.double().mean())
    if count < 2:
        return mean, None
    error = float(values.double().std()) / math.sqrt(count)
    half = float(stats.t.ppf((1 + level) / 2, count - 1)) * error
    return mean, (mean - half, mean + half)


def rank_agreement(ours: Tensor, theirs: Tensor) -> Tensor:
    """Spearman's rank correlation of each row (N, K) -> (M,); rows without any order are left out."""
    first, second = stats.rankdata(ours.cpu().numpy(), axis=1), stats.rankdata(theirs.cpu().numpy(), axis=1)
    first -= first.mean(axis=1, keepdims=True)
    second -= second.mean(axis=1, keepdims=True)
    scale = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    ordered = scale > 0
    found = (first * second).sum(axis=1)[ordered] / scale[ordered]
    return ours.new_tensor(found).double().cpu()
