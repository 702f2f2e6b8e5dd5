import math

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from steelyard_stability._reliability import (
    binned,
    brier,
    conformal_threshold,
    null_errors,
    softmax,
    temperature,
)


def drawn(count, *, classes=4, scale=2.0, seed=0):
    """Logits, and targets drawn from their own softmax: a perfectly calibrated model."""
    generator = np.random.default_rng(seed)
    logits = scale * generator.standard_normal((count, classes))
    chances = softmax(logits)
    targets = (generator.random((count, 1)) > chances.cumsum(axis=1)).sum(axis=1).clip(max=classes - 1)
    return logits, targets


def decided(probabilities, targets):
    return probabilities.max(axis=1), (probabilities.argmax(axis=1) == targets).astype(float)


def test_the_error_is_that_of_torchmetrics():
    logits, targets = drawn(500)
    chances = softmax(3 * logits)
    theirs = multiclass_calibration_error(torch.from_numpy(chances), torch.from_numpy(targets), 4, n_bins=15)
    assert binned(*decided(chances, targets), bins=15).error == pytest.approx(float(theirs), abs=1e-6)


def test_the_error_is_the_textbook_s_where_a_confidence_is_1():
    # Bins (0.9, 1]: confidences 0.95 and 1, of which one is right.
    assert binned(np.array([0.95, 1.0]), np.array([1.0, 0.0]), bins=10).error == pytest.approx(0.475)
    assert binned(np.array([1.0]), np.array([1.0]), bins=15).error == 0


@pytest.mark.parametrize("confidence", [math.nan, 1.1, -0.1])
def test_what_is_no_probability_is_refused(confidence):
    with pytest.raises(ValueError, match="probabilities must lie in"):
        binned(np.array([0.5, confidence]), np.array([1.0, 0.0]), bins=15)


def test_a_calibrated_model_lies_in_its_null_band_as_often_as_promised():
    inside = 0
    for seed in range(100):
        logits, targets = drawn(200, seed=seed)
        confidence, right = decided(softmax(logits), targets)
        null = null_errors(confidence, bins=15, draws=100, seed=seed)
        inside += binned(confidence, right, bins=15).error <= np.quantile(null, 0.95)
    # Binomial(100, 0.95): below 87 in one of a thousand sets of seeds.
    assert inside >= 87


def test_an_overconfident_model_lies_outside_its_null_band():
    logits, targets = drawn(1000)
    confidence, right = decided(softmax(3 * logits), targets)
    assert binned(confidence, right, bins=15).error > null_errors(confidence, bins=15, draws=100, seed=0).max()


@pytest.mark.parametrize("heat", [0.25, 1.0, 4.0])
def test_the_temperature_is_found(heat):
    logits, targets = drawn(20000)
    assert temperature(heat * logits, targets) == pytest.approx(heat, rel=0.05)


def test_brier_is_the_sum_of_squares():
    assert brier(np.array([[0.7, 0.2, 0.1]]), np.array([1])) == pytest.approx([0.49 + 0.64 + 0.01])


def test_conformal_sets_hold_the_truth_as_often_as_promised():
    held, alpha, caught = 99, 0.1, []
    for seed in range(500):
        logits, targets = drawn(held + 100, seed=seed)
        chances = softmax(5 * logits)
        edge = conformal_threshold(chances[:held], targets[:held], miscoverage=alpha)
        new, truth = chances[held:], targets[held:]
        caught.append((new >= edge)[np.arange(100), truth].mean())
    mean, error = np.mean(caught), np.std(caught, ddof=1) / math.sqrt(500)
    assert 1 - alpha - 3 * error <= mean <= 1 - alpha + 1 / (held + 1) + 3 * error


def test_the_threshold_is_the_slow_obvious_one():
    logits, targets = drawn(50)
    chances = softmax(logits)
    own = sorted(chances[row, target] for row, target in enumerate(targets))
    # The smallest threshold such that ceil(0.9 * 51) = 46 of the 50 have their truth at or above it.
    assert conformal_threshold(chances, targets, miscoverage=0.1) == pytest.approx(own[50 - 46])


def test_too_few_examples_rule_nothing_out():
    logits, targets = drawn(5)
    assert conformal_threshold(softmax(logits), targets, miscoverage=0.1) == 0
