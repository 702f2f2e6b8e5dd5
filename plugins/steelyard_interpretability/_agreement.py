# pyright: reportUnknownMemberType=false
"""Numbers over examples: means with intervals, medians, rank agreement."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor


def rank_agreement(ours: Tensor, theirs: Tensor, *, present: Tensor | None = None) -> Tensor:
    """Spearman's rank correlation of each row (N, K) -> (M,); rows without any order are left out.

    Args:
        ours: (N, K).
        theirs: (N, K).
        present: What counts in each row (N, K), at least one; None for all.
    """
    first, second = _centred(ours, present), _centred(theirs, present)
    scale = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    ordered = scale > 0
    found = (first * second).sum(axis=1)[ordered] / scale[ordered]
    return ours.new_tensor(found).double().cpu()


def _centred(values: Tensor, present: Tensor | None) -> NDArray[Any]:
    """Ranks around their mean, and 0 at what does not count."""
    known = values.double() if present is None else values.double().masked_fill(~present, torch.nan)
    ranks = stats.rankdata(known.cpu().numpy(), axis=1, nan_policy="omit")
    return np.nan_to_num(ranks - np.nanmean(ranks, axis=1, keepdims=True))
