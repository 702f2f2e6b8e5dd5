"""Accounting against Opacus' and dp-accounting's own accountants, the noise and the last affordable step."""

import math
import platform
import subprocess
import sys
import warnings
from typing import Any

import pytest
from opacus.accountants import RDPAccountant

from helpers.glibc import GLIBC
from steelyard_privacy import _accounting, _pld
from steelyard_privacy._accounting import (
    MOST_STEPS,
    PRECISION,
    Mechanism,
    accountant,
    default_delta,
    noise_for,
    other_opinion,
    smallest_epsilon,
)
from steelyard_privacy._pld import Bounds, Part
from steelyard_privacy._rdp import ORDERS
from steelyard_privacy._released import disagreement

needs_library = pytest.mark.skipif(not _pld.available(), reason=_pld.INSTALL)

PUBLISHED = [
    (0.01, 1.0, 1000, 1e-5, 2.101365, 1.828244),
    (256 / 60000, 1.0, 14040, 1e-5, 3.076069, 2.820202),
    (0.1, 4.0, 500, 1e-6, 2.848253, 2.648206),
    (0.001, 0.4, 10000, 1e-6, 17.59801, 15.251491),
]


@pytest.mark.parametrize(("rate", "noise", "steps", "delta", "published", "tighter"), PUBLISHED)
def test_the_live_epsilon_is_that_of_opacus(
    rate: float, noise: float, steps: int, delta: float, published: float, tighter: float
) -> None:
    opacus = RDPAccountant()
    opacus.history = [(noise, rate, steps)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        expected = opacus.get_epsilon(delta)
    found = Mechanism(rate=rate, noise_multiplier=noise, delta=delta).live_epsilon(steps=steps)
    assert found == pytest.approx(expected, rel=1e-9)
    assert found == pytest.approx(published, rel=1e-5)
    assert tighter < found


@needs_library
@pytest.mark.parametrize(("rate", "noise", "steps", "delta", "published", "tighter"), PUBLISHED)
def test_the_live_epsilon_is_that_of_dp_accounting(
    rate: float, noise: float, steps: int, delta: float, published: float, tighter: float
) -> None:
    del published, tighter
    found = Mechanism(rate=rate, noise_multiplier=noise, delta=delta).live_epsilon(steps=steps)
    assert found == pytest.approx(renyi(rate, noise, steps, delta), rel=1e-6, abs=1e-6)


@needs_library
@pytest.mark.parametrize(("rate", "noise", "steps", "delta", "published", "tighter"), PUBLISHED[:3])
def test_the_certificate_is_the_privacy_loss_distribution(
    rate: float, noise: float, steps: int, delta: float, published: float, tighter: float
) -> None:
    del published
    mechanism = Mechanism(rate=rate, noise_multiplier=noise, delta=delta)
    assert mechanism.epsilon(steps=steps) == pytest.approx(tighter, rel=2e-6)
    opinion = other_opinion(mechanism, steps=steps)
    assert opinion is not None
    assert opinion.low <= mechanism.epsilon(steps=steps) <= opinion.high


def renyi(rate: float, noise: float, steps: int, delta: float) -> float:
    import dp_accounting
    from dp_accounting.rdp import RdpAccountant

    one: Any = dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(noise))
    return float(RdpAccountant(ORDERS).compose(one, steps).get_epsilon(delta))


GRID = [
    (rate, noise, steps, delta)
    for rate in (0.001, 0.01, 0.05, 0.2, 1.0)
    for noise in (0.7, 1.0, 2.0, 5.0, 20.0)
    for steps in (1, 30, 300, 3000)
    for delta in (1e-5, 1e-6)
]


@pytest.mark.slow
@needs_library
def test_the_certificate_lies_within_the_bounds_of_another_accountant_on_a_grid() -> None:
    assert len(GRID) == 200
    outside: list[Any] = []
    for rate, noise, steps, delta in GRID:
        mechanism = Mechanism(rate=rate, noise_multiplier=noise, delta=delta)
        if mechanism.live_epsilon(steps=steps) > 100:
            continue
        found, opinion = mechanism.epsilon(steps=steps), other_opinion(mechanism, steps=steps)
        assert opinion is not None
        if not max(0.0, opinion.low) <= found <= opinion.high:
            outside.append((rate, noise, steps, delta, found, opinion))
    assert not outside


@needs_library
def test_parts_of_different_noise_add_up() -> None:
    one, other = Part(rate=0.05, noise_multiplier=1.0, steps=20), Part(rate=0.1, noise_multiplier=2.0, steps=10)
    together = _pld.epsilon((one, other), delta=1e-5)
    assert together == pytest.approx(_pld.epsilon((other, one), delta=1e-5), rel=1e-6)
    alone = [_pld.epsilon((part,), delta=1e-5) for part in (one, other)]
    assert max(alone) < together < sum(alone)
    halves = (one, Part(rate=0.05, noise_multiplier=1.0, steps=30))
    whole = (Part(rate=0.05, noise_multiplier=1.0, steps=50),)
    assert _pld.epsilon(halves, delta=1e-5) == pytest.approx(_pld.epsilon(whole, delta=1e-5), rel=1e-5)


def test_without_the_library_the_certificate_is_the_renyi_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_accounting._pld, "available", lambda: False)
    mechanism = Mechanism(rate=0.01, noise_multiplier=1.0, delta=1e-5)
    assert mechanism.epsilon(steps=1000) == mechanism.live_epsilon(steps=1000)
    assert accountant() == "RDP accountant"


def test_no_second_opinion_where_it_might_never_end() -> None:
    assert other_opinion(Mechanism(rate=0.01, noise_multiplier=0.1, delta=1e-5), steps=10) is None
    assert other_opinion(Mechanism(rate=0.01, noise_multiplier=0.0, delta=1e-5), steps=10) is None
    assert other_opinion(Mechanism(rate=0.01, noise_multiplier=1.0, delta=1e-5), steps=0) is None


def test_a_promise_below_the_second_opinion_is_complained_of() -> None:
    assert "at least 1.5" in disagreement(1.4, Bounds(1.5, 1.6))
    assert disagreement(1.5, Bounds(1.5, 1.6)) == disagreement(2.0, Bounds(1.5, 1.6)) == disagreement(1.0, None) == ""


def test_epsilon_grows_with_steps_and_rate_and_falls_with_noise() -> None:
    def epsilon(steps: int = 100, rate: float = 0.1, noise: float = 1.0) -> float:
        return Mechanism(rate=rate, noise_multiplier=noise, delta=1e-5).epsilon(steps=steps)

    assert 0 == epsilon(steps=0) < epsilon(steps=1) < epsilon(steps=2) < epsilon()
    assert epsilon(rate=0.01) < epsilon(rate=0.1) < epsilon(rate=1.0)
    assert epsilon(noise=4.0) < epsilon(noise=1.0) < epsilon(noise=0.5)
    assert math.isinf(epsilon(noise=0.0))


@pytest.mark.slow
@pytest.mark.parametrize("target", [0.2, 1.0, 3.0, 8.0, 50.0])
@pytest.mark.parametrize(("rate", "steps"), [(0.2327, 172), (0.004, 500), (1.0, 10), (0.01, 10_000)])
def test_the_noise_and_the_steps_fit_each_other(target: float, rate: float, steps: int) -> None:
    noise = noise_for(epsilon=target, delta=1e-5, rate=rate, steps=steps)
    assert noise is not None
    mechanism = Mechanism(rate=rate, noise_multiplier=noise, delta=1e-5)
    affordable = mechanism.affordable_steps(epsilon=target)
    assert affordable >= steps
    assert mechanism.epsilon(steps=affordable) <= target < mechanism.epsilon(steps=affordable + 1)


@pytest.mark.parametrize(
    ("target", "rate", "steps"),
    [
        pytest.param(0.2, 0.2327, 172, marks=pytest.mark.slow),
        (3.0, 0.004, 500),
        pytest.param(8.0, 0.25, 4, marks=pytest.mark.slow),
        pytest.param(50.0, 0.2327, 172, marks=pytest.mark.slow),
        (1.0, 1.0, 10),
    ],
)
def test_the_noise_is_enough_and_hardly_more(target: float, rate: float, steps: int) -> None:
    noise = noise_for(epsilon=target, delta=1e-5, rate=rate, steps=steps)
    assert noise is not None
    enough = Mechanism(rate=rate, noise_multiplier=noise, delta=1e-5)
    assert target * (1 - 2 * PRECISION) <= enough.epsilon(steps=steps) <= target


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


# Bytes of the heap that an accountant keeps, of compositions of several lengths.
KEPT = f"""
{GLIBC}
import sys
from steelyard_privacy._pld import Part, epsilon, prv
def cost(steps):
    part = Part(rate=0.02, noise_multiplier=1.0, steps=steps)
    return epsilon((part,), delta=1e-5) if sys.argv[1] == "pld" else prv((part,), delta=1e-5)
cost(100)
before = used()
for steps in (800, 1100, 1500):
    cost(steps)
print(used() - before)
"""


@needs_library
@pytest.mark.parametrize("name", ["pld", "prv"])
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="its own numbers")
def test_no_accountant_keeps_the_plans_of_its_transforms(name: str) -> None:
    """Scipy would keep those of the last sixteen lengths: 38 and 27 MiB of these three."""
    done = subprocess.run([sys.executable, "-c", KEPT, name], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 2 * 2**20
