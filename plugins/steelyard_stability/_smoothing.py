"""Randomised smoothing (Cohen et al. 2019) as pure functions of counts."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What the draws of one example came to.

    Attributes:
        radius: Within which the smoothed decision cannot change; 0 where nothing is certified.
        draws: How many it took.
    """

    radius: float
    draws: int


def lower_bound(hits: ArrayLike, draws: ArrayLike, *, alpha: float) -> Floats:
    """Below which a probability lies with probability `alpha` at most: Clopper and Pearson's (1934), one sided."""
    beta: Any = stats.beta
    found, total = np.asarray(hits, dtype=np.float64), np.asarray(draws, dtype=np.float64)
    return np.where(found > 0, beta.ppf(alpha, np.maximum(found, 1), total - found + 1), 0.0)


def upper_bound(hits: ArrayLike, draws: ArrayLike, *, alpha: float) -> Floats:
    """Above which it lies with probability `alpha` at most."""
    return 1 - lower_bound(np.asarray(draws) - np.asarray(hits), draws, alpha=alpha)


def radius(chance: ArrayLike, *, sigma: float) -> Floats:
    """The radius that a probability of the first class certifies against all others together; 0 up to one half."""
    normal: Any = stats.norm
    known = np.asarray(chance, dtype=np.float64)
    return np.where(known > 0.5, sigma * normal.ppf(np.maximum(known, 0.5)), 0.0)


def certified(hits: ArrayLike, looks: Sequence[int], *, alpha: float, planned: int) -> Floats:
    """The best lower bound over the looks so far.

    Each of the planned looks fails with probability `alpha / planned` at most, hence any of them with `alpha`, whenever
    the looking ends.

    Args:
        hits: Of the class after each look, cumulated (..., L).
        looks: Draws after each look (L,).
        alpha: For all looks.
        planned: How many looks there may be at all.
    """
    return lower_bound(hits, np.asarray(looks), alpha=alpha / planned).max(axis=-1)


def certify(
    count: Callable[[int], int], *, looks: Sequence[int], radii: Iterable[float], sigma: float, alpha: float
) -> Certificate:
    """Draws until every radius is decided, or until the last look.

    Args:
        count: Draws so many more, and says on how many of them the class was decided.
        looks: Draws after which is looked, rising.
        radii: What there is to decide.
        sigma: Of the noise.
        alpha: Probability that the certificate is wrong, at most.
    """
    wanted = np.array([*radii])
    hits: list[int] = []
    drawn, certain = 0, 0.0
    for place, total in enumerate(looks):
        hits.append((hits[-1] if hits else 0) + count(total - drawn))
        drawn = total
        low = certified(hits, looks[: place + 1], alpha=alpha, planned=len(looks))
        high = upper_bound(hits[-1], drawn, alpha=alpha / len(looks))
        certain = float(radius(low, sigma=sigma))
        # Giving up early costs a certificate at most, never its truth.
        if bool(((certain >= wanted) | (radius(high, sigma=sigma) < wanted)).all()):
            break
    return Certificate(radius=certain, draws=drawn)
