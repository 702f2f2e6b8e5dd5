# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Lower bounds on epsilon from one training: how many of the coins that put canaries in can be guessed?"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtr, ndtri
from scipy.stats import binom

Scores = NDArray[np.float64]
Coins = NDArray[np.bool_]

SHARES = ((1 / 2, 1 / 2), (1 / 4, 1 / 4), (1 / 16, 1 / 16), (1 / 8, 0.0), (1 / 32, 0.0))
"""Shares of the canaries that are guessed in and out, fixed before anybody has looked; they share the error."""
LARGEST = 40.0
PRECISION = 1e-4


@dataclass(frozen=True, slots=True)
class Guesses:
    """How well the coins were guessed.

    Attributes:
        right: Number of right guesses.
        made: Number of guesses; for the other canaries there is none.
        canaries: Number of coins.
    """

    right: int
    made: int
    canaries: int


def guesses(scores: Scores, coins: Coins) -> list[Guesses]:
    """The canaries with the highest scores are guessed in, those with the lowest out: one entry for each of `SHARES`.

    Args:
        scores: (m,); ties are broken by the place, of which the coins know nothing.
        coins: (m,), True for a canary that is in.
    """
    count = len(scores)
    ascending = np.argsort(scores, kind="stable")
    found: list[Guesses] = []
    for share_in, share_out in SHARES:
        top, bottom = math.floor(share_in * count), math.floor(share_out * count)
        right = int(coins[ascending[count - top :]].sum()) + int((~coins[ascending[:bottom]]).sum())
        found.append(Guesses(right=right, made=top + bottom, canaries=count))
    return found


def pure_bound(scores: Scores, coins: Coins, *, delta: float, level: float) -> float:
    """Epsilon is at least this, with confidence `level`, whatever the mechanism (Steinke et al. 2023, theorem 5.2)."""
    return _best(scores, coins, level=level, bound=lambda one, error: _least(_steinke(one, delta), error))


def gaussian_bound(scores: Scores, coins: Coins, *, delta: float, level: float) -> float:
    """The same for mechanisms whose trade-off curve is a Gaussian one (Mahloujifar et al. 2024, algorithm 3).

    It finds the smallest mu whose curve does not contradict the guesses, and says what epsilon mu costs at `delta`.
    """

    def bound(one: Guesses, error: float) -> float:
        mu = _least(lambda mu: 1.0 if not contradicted(one, _gaussian(mu), probability=error) else 0.0, error)
        return gaussian_epsilon(mu, delta=delta)

    return _best(scores, coins, level=level, bound=bound)


def contradicted(found: Guesses, inverse: Callable[[float], float], *, probability: float) -> bool:
    """True if so many right guesses are less probable than `probability` for a mechanism with this trade-off curve.

    Mahloujifar et al. 2024, algorithm 3, with two possibilities for each coin.

    Args:
        found: What was guessed.
        inverse: The inverse of x -> 1 - f(x) for the trade-off curve f; 0 below 1 - f(0).
        probability: Of guessing so well.
    """
    right, made = found.right, found.made
    if right == 0:
        return False
    # Of all outcomes with at least so many right guesses: the share of the right ones, and of the others.
    hit = probability * right / found.canaries
    miss = probability * (made - right) / found.canaries
    for place in range(right - 1, -1, -1):
        more = max(miss, inverse(hit))
        hit += place / (made - place) * (more - miss)
        miss = more
    return hit + miss > made / found.canaries


def gaussian_epsilon(mu: float, *, delta: float) -> float:
    """The epsilon of mu-Gaussian differential privacy (Dong et al. 2022, corollary 2.13)."""
    if mu <= 0:
        return 0.0

    def excess(epsilon: float) -> float:
        other = math.exp(min(epsilon + float(log_ndtr(-epsilon / mu - mu / 2)), 0.0))
        return float(ndtr(-epsilon / mu + mu / 2)) - other - delta

    if excess(0.0) <= 0:
        return 0.0
    high = 1.0
    while excess(high) > 0:
        high *= 2
    return _bisected(lambda epsilon: excess(epsilon) <= 0, 0.0, high)


def _best(scores: Scores, coins: Coins, *, level: float, bound: Callable[[Guesses, float], float]) -> float:
    made = [one for one in guesses(scores, coins) if one.made]
    error = (1 - level) / len(SHARES)
    return max((bound(one, error) for one in made), default=0.0)


def _steinke(found: Guesses, delta: float) -> Callable[[float], float]:
    """Epsilon -> an upper bound on the probability of guessing so well."""
    right, made = found.right, found.made
    fewer = np.arange(1, right + 1)

    def probability(epsilon: float) -> float:
        chance = 1 / (1 + math.exp(-epsilon))
        tail = binom.sf(right - 1, made, chance)
        between = binom.cdf(right - 1, made, chance) - binom.cdf(right - 1 - fewer, made, chance)
        return float(tail + 2 * found.canaries * delta * np.max(between / fewer, initial=0.0))

    return probability


def _gaussian(mu: float) -> Callable[[float], float]:
    def inverse(value: float) -> float:
        return float(ndtr(ndtri(min(value, 1.0)) - mu))

    return inverse


def _least(probability: Callable[[float], float], error: float) -> float:
    """The smallest parameter under which what was seen is not too improbable; 0 where nothing speaks against 0."""
    if probability(0.0) > error:
        return 0.0
    high = 1.0
    while high < LARGEST and probability(high) <= error:
        high *= 2
    # Where even the largest is contradicted, no more can be said than that.
    return high if probability(high) <= error else _bisected(lambda value: probability(value) > error, high / 2, high)


def _bisected(fits: Callable[[float], bool], low: float, high: float) -> float:
    """The largest value known not to fit: a lower bound must not be rounded up."""
    low = 0.0 if fits(low) else low
    while high - low > PRECISION:
        middle = (low + high) / 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return low
