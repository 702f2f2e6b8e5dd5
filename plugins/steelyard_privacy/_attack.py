# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Statistics of an attack that gives every record a score: higher means "was in the training data"."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import beta, norm, rankdata

from steelyard.statistics import clopper_pearson

Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A value with its interval."""

    value: float
    interval: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hits:
    """The true positive rate at a false positive rate.

    Attributes:
        value: Members above the strictest threshold that accuses as many non-members as allowed.
        interval: Of the true rate; it knows that the threshold, too, is an estimate.
        accused: Non-members above that threshold.
    """

    value: float
    interval: tuple[float, float]
    accused: int


def area(members: Scores, others: Scores, *, level: float = 0.95) -> Estimate:
    """The probability that a member scores higher than a non-member; ties count half.

    The interval is the wider of DeLong's (1988), which holds for any distribution but shrinks to nothing where the
    sides hardly overlap, and Newcombe's (2006, method 5), which keeps its coverage there.

    Raises:
        ValueError: If a side has fewer than two records.
    """
    if min(len(members), len(others)) < 2:
        raise ValueError("an area under the ROC curve needs two members and two non-members at least")
    m, n = len(members), len(others)
    pooled = rankdata(np.concatenate([members, others]))
    # Share of the other side that each record beats (DeLong et al. 1988, equation 3; ranks after Sun and Xu 2014).
    wins = (pooled[:m] - rankdata(members)) / n
    losses = 1 - (pooled[m:] - rankdata(others)) / m
    value = float(wins.mean())
    variance = float(wins.var(ddof=1)) / m + float(losses.var(ddof=1)) / n
    z = float(norm.isf((1 - level) / 2))
    half = z * math.sqrt(variance)
    low, high = _newcombe(value, m=m, n=n, z=z)
    return Estimate(value=value, interval=(max(0.0, min(low, value - half)), min(1.0, max(high, value + half))))


def hits(members: Scores, others: Scores, *, rate: float, level: float = 0.95) -> Hits:
    """Which part of the members is found by a threshold that accuses the part `rate` of all non-members.

    The threshold is a score of a non-member, so that with few of them the rate that is reached is smaller than asked
    for: 1 % of 50 is nobody. The true rate behind the k-th highest of n scores follows Beta(k, n - k + 1); the interval
    takes thresholds whose true rate is surely below (or above) `rate`, and Clopper-Pearson bounds of the members there.
    Four tails share the error, so its coverage is at least `level`, and its lower end is 0 where there are too few
    non-members to know.
    """
    n, tail = len(others), (1 - level) / 4
    descending = np.sort(others)[::-1]
    # Who scores above the (k + 1)-th highest non-member: k of them, and a part Beta(k + 1, n - k) of all.
    k = np.arange(n)
    strict = np.flatnonzero(beta.sf(rate, k + 1, n - k) <= tail)
    lenient = np.flatnonzero(beta.cdf(rate, k + 1, n - k) <= tail)
    allowed = math.floor(rate * n + 1e-9)
    found = _above(members, descending[allowed])

    def bounds(place: int) -> tuple[float, float]:
        return clopper_pearson(_above(members, descending[place]), len(members), level=1 - 2 * tail)

    return Hits(
        value=found / len(members),
        interval=(bounds(strict[-1])[0] if len(strict) else 0.0, bounds(lenient[0])[1] if len(lenient) else 1.0),
        accused=_above(others, descending[allowed]),
    )


def curve(members: Scores, others: Scores) -> tuple[list[float], list[float]]:
    """False and true positive rates of every threshold, from the strictest to the most lenient."""
    thresholds = np.unique(np.concatenate([members, others]))[::-1]
    ordered: list[Any] = [np.sort(members), np.sort(others)]
    true, false = (1 - np.searchsorted(side, thresholds, side="left") / len(side) for side in ordered)
    return [0.0, *false.tolist()], [0.0, *true.tolist()]


def memorised(members: NDArray[Any], others: NDArray[Any], *, seed: int) -> tuple[Scores, Scores]:
    """Scores against a model that has learnt random answers to the members by heart: a kernel interpolation.

    An attack that does not tell these apart would catch nobody.

    Args:
        members: Inputs (m, d).
        others: Inputs (n, d).
        seed: Of the answers.
    """
    generator = np.random.default_rng(seed)
    answers = generator.choice([-1.0, 1.0], size=len(members) + len(others))
    inside = _squares(members, members)
    width = float(np.median(inside[inside > 0])) if (inside > 0).any() else 1.0
    kernel = np.exp(-inside / width) + 1e-6 * np.eye(len(members))
    weights = np.linalg.solve(kernel, answers[: len(members)])
    said = [np.exp(-_squares(side, members) / width) @ weights for side in (members, others)]
    return -np.abs(said[0] - answers[: len(members)]), -np.abs(said[1] - answers[len(members) :])


def _above(scores: Scores, threshold: float) -> int:
    return int((scores > threshold).sum())


def _squares(one: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
    found = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)[None, :] - 2 * one @ other.T
    return np.clip(found, 0, None)


def _newcombe(value: float, *, m: int, n: int, z: float) -> tuple[float, float]:
    """The areas that `value` does not contradict: |A - value| = z SE(A), with Hanley and McNeil's SE."""

    def distance(true: float) -> float:
        extra = (m + n) / 2 - 1
        spread = true * (1 - true) * (1 + extra * ((1 - true) / (2 - true) + true / (1 + true))) / (m * n)
        return abs(true - value) - z * math.sqrt(spread)

    edge = 1e-9
    inside = min(max(value, edge), 1 - edge)
    low: Any = brentq(distance, edge, inside) if inside > edge and distance(edge) > 0 else 0.0
    high: Any = brentq(distance, inside, 1 - edge) if inside < 1 - edge and distance(1 - edge) > 0 else 1.0
    return float(low), float(high)
