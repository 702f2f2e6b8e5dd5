# pyright: reportUnknownMemberType=false
"""Numbers over examples: means with intervals, medians, rank agreement."""

import numpy as np
from scipy import stats
from torch import Tensor


def rank_agreement(ours: Tensor, theirs: Tensor) -> Tensor:
    """Spearman's rank correlation of each row (N, K) -> (M,); rows without any order are left out."""
    first, second = stats.rankdata(ours.cpu().numpy(), axis=1), stats.rankdata(theirs.cpu().numpy(), axis=1)
    first -= first.mean(axis=1, keepdims=True)
    second -= second.mean(axis=1, keepdims=True)
    scale = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    ordered = scale > 0
    found = (first * second).sum(axis=1)[ordered] / scale[ordered]
    return ours.new_tensor(found).double().cpu()
