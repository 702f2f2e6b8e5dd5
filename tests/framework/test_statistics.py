"""Intervals: what they are by hand, and that none is narrower than the examples allow."""

import numpy as np
import pytest
import torch

from steelyard.statistics import bootstrap, clopper_pearson, mean_interval, resampled, share_interval


def test_the_interval_of_a_mean_is_students():
    # Student's own sleep data, second drug (1908): mean 2.33, standard deviation 2.002.
    values = torch.tensor([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4])
    assert mean_interval(values)[1] == pytest.approx((0.8976, 3.7624), abs=1e-4)
    assert mean_interval(values, low=1, high=3)[1] == (1, 3)


@pytest.mark.parametrize("count", [1, 2, 40])
def test_equal_values_without_ends_have_no_interval(count):
    assert mean_interval(torch.full((count,), 0.3)) == (pytest.approx(0.3), None)


@pytest.mark.parametrize("count", [1, 2, 40, 1000])
def test_equal_values_between_ends_have_that_of_as_many_successes(count):
    for value, successes in ((0.0, 0), (1.0, count)):
        assert mean_interval(torch.full((count,), value), low=0, high=1)[1] == clopper_pearson(successes, count)
    low, high = mean_interval(torch.full((count,), -1.0), low=-1, high=1)[1]
    assert (low, high) == (-1, pytest.approx(2 * clopper_pearson(0, count)[1] - 1))
    # Between the ends, values of all kinds are to be reckoned with on either side.
    low, high = mean_interval(torch.full((count,), 0.5), low=0, high=1)[1]
    assert 0 < low < 0.5 < high < 1


@pytest.mark.parametrize("count", [1, 3, 30])
def test_a_mean_below_the_interval_of_equal_values_hardly_ever_gives_them(count):
    low, _ = mean_interval(torch.ones(count), low=0, high=1)[1]
    # Of all variables in [0, 1] with a mean of `low`, the one that is 0 or 1 is 1 most often.
    assert low**count <= 0.025 + 1e-9


def test_shares_that_are_whole_are_successes():
    assert share_interval(np.array([1.0, 0.0, 1.0, 0.0, 0.0])) == pytest.approx(clopper_pearson(2, 5))
    assert share_interval(np.array([0.5, 0.5, 0.5, 0.5])) == pytest.approx(clopper_pearson(2, 4))


def test_scores_of_drawn_examples_that_are_all_equal_give_no_interval():
    assert resampled(np.ones(200)) is None
    assert resampled(np.linspace(0, 1, 201)) == pytest.approx((0.025, 0.975))
    # Of different lengths, all of them right.
    matches = np.array([[4.0, 4.0], [7.0, 7.0], [5.0, 5.0]])
    assert bootstrap(matches, lambda total: float(total[0] / total[1])) == (1.0, None)
