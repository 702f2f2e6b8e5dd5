# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Attacks on one model with the help of others that were trained on random halves of the same examples.

All take the losses (K, N) in nats of K models on N examples, and who was a member (K, N); they give scores (N,), the
higher the more likely a member of the target.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from steelyard_privacy._attack import Scores

Losses = NDArray[np.float64]
Members = NDArray[np.bool_]

LEAST = 4
"""Models whose coins say nothing of the target's."""
SMALLEST, LARGEST = 1e-7, 1e6
"""Losses come as 32-bit numbers: below this they are no more than rounding."""
LEAST_SPREAD = 1e-6


def independent(members: Members, target: int) -> NDArray[np.int64]:
    """The models (k,) whose coins say nothing of the target's: neither the same ones nor their other sides."""
    own = members[target]
    found = [model for model, coins in enumerate(members) if (coins != own).any() and (coins == own).any()]
    return np.asarray(found, dtype=np.int64)


def suffices(members: Members, target: int) -> bool:
    """Whether enough models can help, and every example is in one of them and not in another."""
    helpers = members[independent(members, target)]
    return len(helpers) >= LEAST and bool(helpers.any(axis=0).all() and (~helpers).any(axis=0).all())


def confidence(losses: Losses) -> Losses:
    """log(p / (1 - p)) of the probability p = exp(-loss) of what is right (Carlini et al. 2022, section IV-C)."""
    bounded = np.clip(np.nan_to_num(losses, nan=np.inf), SMALLEST, LARGEST)
    return -bounded - np.log(-np.expm1(-bounded))


def lira(losses: Losses, members: Members, target: int) -> Scores:
    """The online likelihood ratio attack with one spread for all examples (Carlini et al. 2022, algorithm 1).

    With a handful of models a spread of each example's own would be noise (section VI-B there).
    """
    helpers = independent(members, target)
    known, inside = confidence(losses[helpers]), members[helpers]
    own = confidence(losses[target])
    ratio = np.zeros_like(own)
    for which, sign in ((inside, 1), (~inside, -1)):
        middle = _mean(known, which)
        ratio += sign * norm.logpdf(own, middle, _spread(known - middle, which))
    return ratio


def rmia(losses: Losses, members: Members, target: int) -> Scores:
    """The share of the other examples whose likelihood ratio is at most as large (Zarifzadeh et al. 2024, equation 3).

    An example's ratio is its probability under the target over the mean of those under models with and without it. The
    other examples are the training split, and gamma is 1: a larger one only makes ties.
    """
    helpers = independent(members, target)
    log_chances = -np.clip(np.nan_to_num(losses, nan=np.inf), 0, LARGEST)
    chances, inside = np.exp(log_chances[helpers]), members[helpers]
    reference = (_mean(chances, inside) + _mean(chances, ~inside)) / 2
    ratios = log_chances[target] - np.log(np.maximum(reference, np.finfo(float).tiny))
    return (rankdata(ratios, method="max") - 1) / max(1, len(ratios) - 1)


def _mean(values: Losses, which: Members) -> Losses:
    return (values * which).sum(axis=0) / which.sum(axis=0)


def _spread(centred: Losses, which: Members) -> float:
    """Pooled over the examples, each of which has spent one degree of freedom on its mean."""
    freedom = max(1, int((which.sum(axis=0) - 1).sum()))
    return max(float(np.sqrt((centred**2 * which).sum() / freedom)), LEAST_SPREAD)
