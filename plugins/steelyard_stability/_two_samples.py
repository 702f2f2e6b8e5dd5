# pyright: reportUnknownMemberType=false
"""Have two samples come from the same distribution, and how far apart are they? Pure functions."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steelyard_stability._ood import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """How far two samples lie apart.

    Attributes:
        value: The largest distance between two distribution functions over all columns, from 0 to 1.
        column: Where.
        interval: That holds the true one, whatever the distributions.
        chance: p-value of the permutation test: how often as large a gap arises where nothing differs.
        usual: The median of the gaps that arise there.
    """

    value: float
    column: int
    interval: tuple[float, float]
    chance: float
    usual: float


def gap(one: Floats, other: Floats, *, permutations: int, seed: int, level: float = 0.95) -> Gap:
    """Kolmogorov and Smirnov's distance of each column, the largest of them, and how often chance makes as large a one.

    Rows are dealt out anew as a whole, so that columns may depend on each other; with the given rows as one more deal
    the p-value is exact (Phipson and Smyth 2010). The interval is that of Dvoretzky, Kiefer and Wolfowitz with the
    constant of Massart (1990), shared out over samples and columns.

    Args:
        one: (N, K), N and K at least 1.
        other: (M, K), M at least 1.
        permutations: Deals.
        seed: Of the deals.
        level: Of the interval.
    """
    sizes, columns = (len(one), len(other)), one.shape[1]
    pooled = np.concatenate([one, other])
    order = np.argsort(pooled, axis=0, kind="stable")
    ranked = np.take_along_axis(pooled, order, axis=0)
    # A distribution function counts only behind the last of equal values.
    ends = np.concatenate([ranked[1:] != ranked[:-1], np.ones((1, columns), dtype=bool)])
    # Whole numbers, so that equal gaps are equal: a step up is worth M, a step down N.
    steps = np.repeat(np.array([sizes[1], -sizes[0]], dtype=np.int64), sizes)
    found = _heights(steps, order, ends)
    column, stream = int(found.argmax()), np.random.default_rng(seed)
    drawn = np.array([_heights(stream.permutation(steps), order, ends).max() for _ in range(permutations)])
    whole = sizes[0] * sizes[1]
    value = float(found[column]) / whole
    tail = (1 - level) / (2 * columns)
    lost = sum(math.sqrt(math.log(2 / tail) / (2 * size)) for size in sizes)
    return Gap(
        value=value,
        column=column,
        interval=(max(0.0, value - lost), min(1.0, value + lost)),
        chance=(1 + int((drawn >= found[column]).sum())) / (1 + permutations),
        usual=float(np.median(drawn)) / whole,
    )


def directions(features: Floats, *, count: int, seed: int) -> Floats:
    """Random directions of length 1 through D features (D, count); all D axes where there are no more than `count`."""
    width = features.shape[1]
    if width <= count:
        return np.eye(width)
    drawn = np.random.default_rng([seed, width]).normal(size=(width, count))
    return drawn / np.linalg.norm(drawn, axis=0)


def _heights(steps: NDArray[np.int64], order: NDArray[np.int64], ends: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The largest distance of each column, times N times M."""
    heights = np.abs(np.cumsum(steps[order], axis=0))
    return np.where(ends, heights, 0).max(axis=0)
