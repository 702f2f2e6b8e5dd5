"""Bounds on epsilon from guessed coins, against closed forms, brute force and simulation."""

import math

import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.stats import binom, norm

from steelyard_privacy._one_run import (
    SHARES,
    Guesses,
    _steinke,
    contradicted,
    gaussian_bound,
    gaussian_epsilon,
    guesses,
    pure_bound,
)

ALL_IN_ORDER = np.arange(1000.0), np.arange(1000) >= 500


@pytest.mark.parametrize("mu", [0.3, 1.0, 3.0])
def test_gaussian_epsilon_has_its_delta(mu: float) -> None:
    delta = 1e-5
    epsilon = gaussian_epsilon(mu, delta=delta)
    found = norm.cdf(-epsilon / mu + mu / 2) - math.exp(epsilon) * norm.cdf(-epsilon / mu - mu / 2)
    assert found == pytest.approx(delta, rel=2e-3)
    assert gaussian_epsilon(1e-7, delta=delta) == gaussian_epsilon(0.0, delta=delta) == 0


def test_who_guesses_all_coins_shows_the_logarithm_of_their_number() -> None:
    """Chance 1/(1+e^-eps) to the power m equals the error, in closed form."""
    error = 0.05 / len(SHARES)
    expected = -math.log(error ** (-1 / 1000) - 1)
    assert pure_bound(*ALL_IN_ORDER, delta=1e-300, level=0.95) == pytest.approx(expected, abs=2e-4)
    assert gaussian_bound(*ALL_IN_ORDER, delta=1e-5, level=0.95) > expected


@pytest.mark.parametrize(("right", "made", "canaries"), [(9, 10, 20), (30, 40, 40), (5, 5, 30)])
def test_delta_is_charged_as_the_theorem_says(right: int, made: int, canaries: int) -> None:
    """Theorem 5.2, summed term by term."""
    epsilon, delta = 0.7, 1e-3
    chance = 1 / (1 + math.exp(-epsilon))
    mass = [float(binom.pmf(value, made, chance)) for value in range(made + 1)]
    worst = max(2 / i * sum(mass[right - i : right]) for i in range(1, right + 1))
    expected = sum(mass[right:]) + canaries * delta * worst
    assert _steinke(Guesses(right, made, canaries), delta)(epsilon) == pytest.approx(expected)


@pytest.mark.parametrize(("right", "made", "canaries"), [(6, 6, 6), (5, 6, 8), (7, 9, 20)])
@pytest.mark.parametrize(("epsilon", "delta"), [(1.0, 0.0), (0.5, 0.05)])
def test_the_recursion_finds_what_a_linear_program_finds(
    right: int, made: int, canaries: int, epsilon: float, delta: float
) -> None:
    """The largest probability of so many right guesses that no tail forbids (Mahloujifar et al. 2024, theorem 9)."""
    # 1 - f(x) = min(delta + e^eps x, 1 - e^-eps (1 - delta - x)), as rows slope, offset.
    lines = [(math.exp(epsilon), delta), (math.exp(-epsilon), 1 - math.exp(-epsilon) * (1 - delta))]
    outcomes = np.arange(made + 1)
    rows, limits = [], []
    for least in range(1, right + 1):
        hits = np.where(outcomes >= least, outcomes / canaries, 0)
        misses = np.where(outcomes >= least - 1, (made - outcomes) / canaries, 0)
        for slope, offset in lines:
            rows.append(hits - slope * misses)
            limits.append(offset)
    best = -linprog(-(outcomes >= right).astype(float), rows, limits, np.ones((1, made + 1)), [1.0]).fun

    def inverse(value: float) -> float:
        return max(0.0, *((value - offset) / slope for slope, offset in lines))

    if best < 1:
        assert contradicted(Guesses(right, made, canaries), inverse, probability=best * 1.001)
    assert not contradicted(Guesses(right, made, canaries), inverse, probability=best * 0.999)


@pytest.mark.parametrize("mu", [0.0, 1.5])
def test_bounds_stay_below_the_truth(mu: float) -> None:
    """Every canary answered with Gaussian noise of its own; at 95 % more than 4 wrong bounds of 12 never happen."""
    generator = np.random.default_rng(0)
    truth, wrong, found = gaussian_epsilon(mu, delta=1e-5), 0, []
    for _ in range(12):
        coins = generator.integers(0, 2, size=100).astype(bool)
        scores = generator.normal(size=100) + mu * coins
        bounds = [bound(scores, coins, delta=1e-5, level=0.95) for bound in (pure_bound, gaussian_bound)]
        wrong += max(bounds) > truth
        found.append(bounds)
    assert wrong <= 4
    assert (np.mean(found, axis=0) > 0.1).all() == (mu > 0)


def test_ties_are_no_knowledge() -> None:
    coins = np.random.default_rng(1).integers(0, 2, size=400).astype(bool)
    assert pure_bound(np.zeros(400), coins, delta=1e-5, level=0.999) == 0


def test_guesses_are_counted() -> None:
    scores, coins = np.array([0.1, 0.9, 0.5, 0.7]), np.array([False, True, True, False])
    assert guesses(scores, coins)[:2] == [Guesses(2, 4, 4), Guesses(2, 2, 4)]
