# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""How strange an input looks to a model: pure functions on logits and features. Higher is stranger."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import svd
from scipy.special import logsumexp
from scipy.stats import norm, rankdata

Floats = NDArray[np.float64]
RIDGE = 1e-6
"""Added to the covariance, as a share of its mean variance: features that never vary have no inverse."""


def unsure(logits: Floats) -> Floats:
    """Minus the highest softmax probability (Hendrycks and Gimpel 2017): (N, C) -> (N,)."""
    whole: Any = logsumexp(logits, axis=1)
    return -np.exp(logits.max(axis=1) - whole)


def energy(logits: Floats) -> Floats:
    """The free energy, minus the log of the sum of exponentials (Liu et al. 2020): (N, C) -> (N,)."""
    whole: Any = logsumexp(logits, axis=1)
    return -whole


def mahalanobis(features: Floats, *, known: Floats, labels: NDArray[np.int64]) -> Floats:
    """The squared distance to the nearest class mean, by the covariance within classes (Lee et al. 2018).

    Args:
        features: (N, D).
        known: Features of familiar examples (M, D).
        labels: Their classes (M,).
    """
    classes = np.unique(labels)
    means = np.stack([known[labels == one].mean(axis=0) for one in classes])
    apart = known - means[np.searchsorted(classes, labels)]
    ridge = RIDGE * float((apart**2).mean()) + 1e-12
    # The covariance itself would be as large as the features squared; where nothing familiar varies there is the ridge.
    sizes, axes = svd(apart, full_matrices=False)[1:]
    variances = sizes**2 / len(apart) + ridge
    # Along the axes, and what they leave of it: projected once, since the difference of two rests is the rest of two.
    along, centres = features @ axes.T, means @ axes.T
    rest, middles = features - along @ axes, means - centres @ axes
    found = np.empty((len(features), len(classes)))
    for place in range(len(classes)):
        inside = ((along - centres[place]) ** 2 / variances).sum(axis=1)
        found[:, place] = inside + ((rest - middles[place]) ** 2).sum(axis=1) / ridge
    return found.min(axis=1)


def nearest(features: Floats, *, known: Floats, neighbours: int) -> Floats:
    """The distance to the k-th nearest familiar example, on the unit sphere (Sun et al. 2022): (N, D) -> (N,)."""
    one, other = (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12) for rows in (features, known))
    place = min(neighbours, len(known)) - 1
    squared = np.maximum(2 - 2 * one @ other.T, 0)
    return np.sqrt(np.partition(squared, place, axis=1)[:, place])


def auroc(strange: Floats, familiar: Floats, *, level: float = 0.95) -> tuple[float, tuple[float, float]]:
    """The probability that a strange input scores above a familiar one, ties counting half, with its interval.

    The standard error is that of DeLong et al. (1988), on the scale of the logit, so that the interval stays inside
    [0, 1]. Where nothing overlaps it is 0, and the exact interval of a share of the fewer inputs stands in.
    """
    most, fewest = len(familiar), len(strange)
    ranks = rankdata(np.concatenate([strange, familiar]))
    above = (ranks[:fewest] - rankdata(strange)) / most
    below = 1 - (ranks[fewest:] - rankdata(familiar)) / fewest
    value = float(above.mean())
    spread = np.sqrt(
        (above.var(ddof=1) / fewest if fewest > 1 else 0.25) + (below.var(ddof=1) / most if most > 1 else 0.25)
    )
    if not 0 < value < 1:
        from steelyard.statistics import clopper_pearson

        few = min(most, fewest)
        return value, clopper_pearson(round(value * few), few, level=level)
    half = float(norm.ppf((1 + level) / 2)) * spread / (value * (1 - value))
    logit = np.log(value / (1 - value))
    return value, (float(1 / (1 + np.exp(half - logit))), float(1 / (1 + np.exp(-half - logit))))
