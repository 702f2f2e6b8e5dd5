"""The front against its definition, by brute force."""

import random
from itertools import product

import pytest

from steelyard.measurement import Better
from steelyard.trials.pareto import front

BOTH = list(product(Better, Better))


def brute_force(points, x, y):
    """No other point is at least as good in both and better in one."""
    signs = [1 if better is Better.LOWER else -1 for better in (x, y)]
    costs = [(signs[0] * a, signs[1] * b) for a, b in points]
    return {
        place for place, (a, b) in enumerate(costs) if not any(c <= a and d <= b and (c < a or d < b) for c, d in costs)
    }


@pytest.mark.parametrize(("x", "y"), BOTH)
@pytest.mark.parametrize("seed", range(25))
def test_it_is_what_nothing_dominates(x, y, seed):
    draw = random.Random(seed)
    # Few values, so that ties are common.
    points = [(draw.randint(0, 6), draw.randint(0, 6)) for _ in range(draw.randint(1, 40))]
    assert set(front(points, x=x, y=y)) == brute_force(points, x, y)


def test_it_goes_from_the_best_x_on():
    points = [(3.0, 1.0), (1.0, 3.0), (2.0, 2.0), (3.0, 3.0)]
    assert front(points, x=Better.LOWER, y=Better.LOWER) == (1, 2, 0)


def test_equal_points_stand_together():
    assert front([(1.0, 1.0), (1.0, 1.0)], x=Better.LOWER, y=Better.HIGHER) == (0, 1)


def test_nothing_has_no_front():
    assert front([], x=Better.LOWER, y=Better.HIGHER) == ()
