"""The statistics of membership inference against oracles and simulation."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score, roc_curve

from steelyard_privacy._attack import area, curve, hits, memorised


def sides(m: int, n: int, *, shift: float, seed: int, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    members, others = generator.normal(shift, 1.0, m), generator.normal(0.0, 1.0, n)
    return (members.round(0), others.round(0)) if ties else (members, others)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("m", "n", "shift"), [(50, 50, 0.0), (300, 40, 1.0), (7, 200, 2.5)])
def test_the_area_is_that_of_sklearn(m: int, n: int, shift: float, ties: bool) -> None:
    members, others = sides(m, n, shift=shift, seed=1, ties=ties)
    labels = np.concatenate([np.ones(m), np.zeros(n)])
    assert area(members, others).value == pytest.approx(roc_auc_score(labels, np.concatenate([members, others])))


def test_the_interval_agrees_with_the_bootstrap() -> None:
    members, others = sides(400, 300, shift=0.5, seed=2)
    generator = np.random.default_rng(0)
    draws = [
        area(generator.choice(members, len(members)), generator.choice(others, len(others))).value for _ in range(2000)
    ]
    found = area(members, others).interval
    expected = np.quantile(draws, [0.025, 0.975])
    assert found[1] - found[0] == pytest.approx(expected[1] - expected[0], rel=0.15)
    assert found == pytest.approx(tuple(expected), abs=0.01)


@pytest.mark.parametrize(("size", "shift"), [(20, 0.0), (20, 1.5), (20, 3.0), (100, 0.0), (100, 3.0)])
def test_the_interval_covers_the_truth(size: int, shift: float) -> None:
    truth = float(norm.cdf(shift / np.sqrt(2)))
    inside = 0
    for seed in range(400):
        low, high = area(*sides(size, size, shift=shift, seed=seed)).interval
        inside += low <= truth <= high
    # 0.95 less three standard errors of 400 trials.
    assert inside / 400 > 0.917


def test_perfect_separation_has_an_honest_interval() -> None:
    members, others = np.arange(10.0, 20.0), np.arange(10.0)
    found = area(members, others)
    assert found.value == 1.0
    assert 0.6 < found.interval[0] < 0.95
    assert found.interval[1] == 1.0
    turned = area(others, members)
    assert turned.interval == pytest.approx((0.0, 1 - found.interval[0]))
    assert area(np.arange(1000.0) + 2000, np.arange(1000.0)).interval[0] > 0.99


def test_constant_scores_are_guessing() -> None:
    found = area(np.ones(50), np.ones(50))
    assert found.value == 0.5
    assert found.interval[0] < 0.5 < found.interval[1]


def test_too_few_records_are_refused() -> None:
    with pytest.raises(ValueError, match="two members"):
        area(np.ones(1), np.ones(5))


@pytest.mark.parametrize(("n", "allowed"), [(50, 0), (99, 0), (100, 1), (359, 3), (1000, 10)])
def test_the_false_positive_rate_is_never_exceeded(n: int, allowed: int) -> None:
    members, others = sides(500, n, shift=0.0, seed=3)
    found = hits(members, others, rate=0.01)
    assert found.accused == allowed
    assert found.accused / n <= 0.01
    assert found.interval[0] <= 0.01 <= found.interval[1]


@pytest.mark.parametrize(("size", "shift"), [(60, 0.0), (60, 2.0), (600, 0.0), (600, 2.0)])
def test_the_interval_of_the_hits_covers_the_truth(size: int, shift: float) -> None:
    truth = float(norm.sf(norm.isf(0.01) - shift))
    inside = 0
    for seed in range(200):
        low, high = hits(*sides(size, size, shift=shift, seed=seed), rate=0.01).interval
        inside += low <= truth <= high
    # Four tails share the error, so the interval is on the safe side.
    assert inside / 200 > 0.95


def test_with_enough_records_the_hits_are_sure() -> None:
    found = hits(*sides(3000, 3000, shift=3.0, seed=5), rate=0.01)
    assert found.interval[0] > 0.5
    assert found.interval[0] < found.value < found.interval[1]


def test_hits_agree_with_the_roc_curve_of_sklearn() -> None:
    members, others = sides(300, 500, shift=1.0, seed=4)
    labels = np.concatenate([np.ones(300), np.zeros(500)])
    false, true, _ = roc_curve(labels, np.concatenate([members, others]), drop_intermediate=False)
    best = true[false <= 0.01].max()
    assert hits(members, others, rate=0.01).value == pytest.approx(best)
    mine = curve(members, others)
    np.testing.assert_allclose(mine[0], false)
    np.testing.assert_allclose(mine[1], true)


def test_ties_at_the_threshold_accuse_nobody_more() -> None:
    others = np.array([5.0] * 10 + [1.0] * 90)
    found = hits(np.full(20, 5.0), others, rate=0.05)
    assert (found.value, found.accused) == (0.0, 0)


def test_the_memoriser_is_caught_on_inputs_that_say_nothing() -> None:
    generator = np.random.default_rng(0)
    found = area(*memorised(generator.normal(size=(60, 30)), generator.normal(size=(60, 30)), seed=1), level=0.999)
    assert found.interval[0] > 0.8


def test_who_has_learnt_nothing_is_not_accused() -> None:
    """The same answers for both sides: a member is not told from itself."""
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(40, 5))
    members, _ = memorised(inputs, inputs[:4], seed=1)
    found = area(members, members)
    assert found.value == 0.5
