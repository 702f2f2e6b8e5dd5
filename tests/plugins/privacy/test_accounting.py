"""Accounting against Opacus' own accountant, and the two bisections."""

import math
import warnings

import pytest
from opacus.accountants import RDPAccountant

from steelyard_privacy._accounting import MOST_STEPS, Mechanism, default_delta, noise_for, smallest_epsilon


@pytest.mark.parametrize(
    ("rate", "noise", "steps", "delta", "published"),
    [
        (0.01, 1.0, 1000, 1e-5, 2.101365),
        (256 / 60000, 1.0, 14040, 1e-5, 3.076069),
        (0.1, 4.0, 500, 1e-6, 2.848253),
        (0.001, 0.4, 10000, 1e-6, 17.59801),
    ],
)
def test_epsilon_is_that_of_opacus(rate: float, noise: float, steps: int, delta: float, published: float) -> None:
    accountant = RDPAccountant()
    accountant.history = [(noise, rate, steps)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        expected = accountant.get_epsilon(delta)
    found = Mechanism(rate=rate, noise_multiplier=noise, delta=delta).epsilon(steps=steps)
    assert found == pytest.approx(expected, rel=1e-9)
    assert found == pytest.approx(published, rel=1e-5)


def test_epsilon_grows_with_steps_and_rate_and_falls_with_noise() -> None:
    def epsilon(steps: int = 100, rate: float = 0.1, noise: float = 1.0) -> float:
        return Mechanism(rate=rate, noise_multiplier=noise, delta=1e-5).epsilon(steps=steps)

    assert 0 == epsilon(steps=0) < epsilon(steps=1) < epsilon(steps=2) < epsilon()
    assert epsilon(rate=0.01) < epsilon(rate=0.1) < epsilon(rate=1.0)
    assert epsilon(noise=4.0) < epsilon(noise=1.0) < epsilon(noise=0.5)
    assert math.isinf(epsilon(noise=0.0))


@pytest.mark.parametrize("target", [0.2, 1.0, 3.0, 8.0, 50.0])
@pytest.mark.parametrize(("rate", "steps"), [(0.2327, 172), (0.004, 500), (1.0, 10)])
def test_the_noise_is_enough_and_hardly_more(target: float, rate: float, steps: int) -> None:
    noise = noise_for(epsilon=target, delta=1e-5, rate=rate, steps=steps)
    assert noise is not None
    enough = Mechanism(rate=rate, noise_multiplier=noise, delta=1e-5)
    less = Mechanism(rate=rate, noise_multiplier=noise / 1.0002, delta=1e-5)
    assert enough.epsilon(steps=steps) <= target < less.epsilon(steps=steps)
    assert enough.affordable_steps(epsilon=target) >= steps


@pytest.mark.parametrize(("noise", "target"), [(1.0, 3.0), (2.0, 1.0), (0.7, 8.0)])
def test_the_affordable_steps_are_the_last_that_fit(noise: float, target: float) -> None:
    mechanism = Mechanism(rate=0.05, noise_multiplier=noise, delta=1e-5)
    steps = mechanism.affordable_steps(epsilon=target)
    assert mechanism.epsilon(steps=steps) <= target < mechanism.epsilon(steps=steps + 1)


def test_no_step_and_any_number_of_steps() -> None:
    assert Mechanism(rate=1.0, noise_multiplier=0.5, delta=1e-5).affordable_steps(epsilon=0.5) == 0
    assert Mechanism(rate=1e-6, noise_multiplier=1e3, delta=1e-5).affordable_steps(epsilon=8.0) == MOST_STEPS


def test_what_no_noise_can_reach() -> None:
    least = smallest_epsilon(delta=1e-5, rate=0.1, steps=100)
    assert 0 < least < 0.01
    assert noise_for(epsilon=least / 2, delta=1e-5, rate=0.1, steps=100) is None
    assert noise_for(epsilon=least * 1.05, delta=1e-5, rate=0.1, steps=100) is not None


@pytest.mark.parametrize("noise", [0.05, 0.15, 0.3, 0.6, 2.0, 50.0])
@pytest.mark.parametrize("rate", [1e-4, 0.05, 0.5, 0.99, 1.0])
def test_the_accountant_holds_over_the_whole_range(noise: float, rate: float) -> None:
    epsilon = Mechanism(rate=rate, noise_multiplier=noise, delta=1e-6).epsilon(steps=10)
    assert math.isfinite(epsilon)
    assert epsilon >= 0


def test_delta_stays_well_below_one_over_n() -> None:
    assert default_delta(60000) == pytest.approx(1 / 600000)
    assert default_delta(100) == 1e-5
