"""The formulas of the shadow attacks, against loops that spell the papers out and a case that has a closed form."""

import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from steelyard_privacy._attack import area
from steelyard_privacy._shadow import half
from steelyard_privacy._shadow_attack import confidence, independent, lira, rmia, suffices


def models(count: int, size: int) -> np.ndarray:
    return np.stack([half(size, model=model) for model in range(count)])


def drawn(count: int = 8, size: int = 40, *, apart: float = 1.0, seed: int = 0) -> tuple[Any, Any]:
    """Losses whose confidence is normal, `apart` higher for members, and on a level of its own for each example."""
    generator = np.random.default_rng(seed)
    members = models(count, size)
    known = generator.normal(size=size) + apart * members + generator.normal(size=members.shape)
    return np.logaddexp(0, -known), members


def test_a_half_is_a_fair_coin_and_every_second_model_gets_the_rest() -> None:
    coins = models(40, 500)
    assert (coins[::2] ^ coins[1::2]).all()
    assert coins.sum(axis=0).tolist() == [20] * 500
    # 10,000 coins: the mean of their products is off by more than 4 standard deviations once in 15,000 tries.
    signs = 2.0 * coins[::2] - 1
    assert abs(signs.mean()) < 4 / math.sqrt(signs.size)
    assert abs((signs[:, 1:] * signs[:, :-1]).mean()) < 4 / math.sqrt(signs.size)


def test_a_model_is_attacked_by_those_whose_coins_say_nothing_of_its_own() -> None:
    members = models(6, 30)
    assert independent(members, 2).tolist() == [0, 1, 4, 5]
    assert suffices(members, 2)
    assert not suffices(members[:4], 2)  # two helpers are too few
    assert not suffices(members[[0, 2, 4, 4, 4, 4]], 0)  # nothing would be known of some examples out or in


def test_confidence_is_the_log_odds_of_what_is_right() -> None:
    chances = np.array([1e-5, 0.2, 0.5, 0.99999])
    assert confidence(-np.log(chances)) == pytest.approx(np.log(chances / (1 - chances)))
    strange = confidence(np.array([0.0, np.inf, np.nan, 1e300]))
    assert np.isfinite(strange).all()
    assert strange[0] > 16
    assert set(strange[1:]) == {-1e6}


def test_lira_is_the_ratio_of_two_normal_likelihoods_spelt_out() -> None:
    losses, members = drawn()
    odds = np.log(np.exp(-losses) / (1 - np.exp(-losses)))
    helpers = [0, 1, 2, 3, 6, 7]
    squares, freedom = {True: 0.0, False: 0.0}, {True: 0, False: 0}
    means: dict[tuple[int, bool], float] = {}
    for place in range(40):
        for side in (True, False):
            values = [odds[model, place] for model in helpers if members[model, place] == side]
            means[place, side] = sum(values) / len(values)
            squares[side] += sum((value - means[place, side]) ** 2 for value in values)
            freedom[side] += len(values) - 1
    spread = {side: math.sqrt(squares[side] / freedom[side]) for side in (True, False)}

    expected = [
        norm(means[place, True], spread[True]).logpdf(odds[5, place])
        - norm(means[place, False], spread[False]).logpdf(odds[5, place])
        for place in range(40)
    ]
    # Model 5 is attacked: 4 has the other sides of its coins.
    assert lira(losses, members, 5) == pytest.approx(expected, rel=1e-9)


def test_rmia_counts_the_examples_that_are_beaten() -> None:
    losses, members = drawn()
    chances, helpers = np.exp(-losses), [0, 1, 2, 3, 6, 7]
    ratios: list[float] = []
    for place in range(40):
        inside = [chances[model, place] for model in helpers if members[model, place]]
        outside = [chances[model, place] for model in helpers if not members[model, place]]
        reference = (sum(inside) / len(inside) + sum(outside) / len(outside)) / 2
        ratios.append(chances[5, place] / reference)
    expected = [
        sum(ratios[place] / ratios[other] >= 1 for other in range(40) if other != place) / 39 for place in range(40)
    ]
    assert rmia(losses, members, 5) == pytest.approx(expected)


def test_with_many_models_lira_reaches_the_best_possible_area() -> None:
    """Two normal distributions one standard deviation apart: no attack has more than Phi(1 / sqrt 2) = 0.760."""
    losses, members = drawn(count=100, size=4000)
    found = lira(losses, members, 0)
    reached = area(found[members[0]], found[~members[0]]).value
    assert reached == pytest.approx(norm.cdf(1 / math.sqrt(2)), abs=0.02)
    # By the loss alone the levels of the examples hide it.
    assert area(-losses[0][members[0]], -losses[0][~members[0]]).value < reached - 0.05


@pytest.mark.parametrize("attack", [lira, rmia])
def test_models_that_know_nothing_are_not_accused(attack: Any) -> None:
    losses, members = drawn(count=16, size=4000, apart=0.0)
    found = attack(losses, members, 3)
    low, high = area(found[members[3]], found[~members[3]], level=0.9999).interval
    assert low < 0.5 < high
    equal = attack(np.ones_like(losses), members, 3)
    assert np.isfinite(equal).all()
    assert len(set(equal.tolist())) == 1
