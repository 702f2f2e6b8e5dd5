import numpy as np
import pytest
from scipy.special import softmax
from sklearn.covariance import EmpiricalCovariance
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from steelyard_stability._ood import auroc, energy, mahalanobis, nearest, unsure

STREAM = np.random.default_rng(0)
KNOWN, LABELS, NEW = STREAM.normal(size=(200, 5)), STREAM.integers(0, 3, 200), STREAM.normal(size=(40, 5)) + 1


def test_scores_of_logits_are_their_formulas() -> None:
    logits = STREAM.normal(size=(50, 4)) * 5

    np.testing.assert_allclose(unsure(logits), -softmax(logits, axis=1).max(axis=1))
    np.testing.assert_allclose(energy(logits), -np.log(np.exp(logits).sum(axis=1)))
    assert np.isfinite(energy(logits * 1e4)).all()


def test_mahalanobis_is_that_of_scikit_learn() -> None:
    means = np.stack([KNOWN[one == LABELS].mean(axis=0) for one in range(3)])
    within = EmpiricalCovariance(assume_centered=True).fit(KNOWN - means[LABELS])
    wanted = np.stack([within.mahalanobis(NEW - mean) for mean in means]).min(axis=0)

    np.testing.assert_allclose(mahalanobis(NEW, known=KNOWN, labels=LABELS), wanted, rtol=1e-4)


def test_mahalanobis_of_more_features_than_examples_is_the_obvious_one() -> None:
    stream = np.random.default_rng(3)
    known, new = stream.normal(size=(30, 80)) * np.geomspace(1, 1e-4, 80), stream.normal(size=(9, 80))
    labels = np.arange(30) % 3
    means = np.stack([known[labels == one].mean(axis=0) for one in range(3)])
    apart = known - means[labels]
    covariance = apart.T @ apart / 30
    covariance += np.eye(80) * (1e-6 * np.trace(covariance) / 80 + 1e-12)
    wanted = [min((row - mean) @ np.linalg.solve(covariance, row - mean) for mean in means) for row in new]

    np.testing.assert_allclose(mahalanobis(new, known=known, labels=labels), wanted, rtol=1e-6)


def test_a_feature_that_never_varies_breaks_nothing() -> None:
    flat = np.column_stack([KNOWN, np.zeros(200)])

    assert np.isfinite(mahalanobis(flat, known=flat, labels=LABELS)).all()


def test_the_nearest_are_those_of_scikit_learn() -> None:
    def unit(rows):
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    wanted = NearestNeighbors(n_neighbors=7).fit(unit(KNOWN)).kneighbors(unit(NEW))[0][:, -1]

    np.testing.assert_allclose(nearest(NEW, known=KNOWN, neighbours=7), wanted, rtol=1e-6)


def test_auroc_is_that_of_scikit_learn_also_with_ties() -> None:
    for digits in (0, 1, 6):
        strange, familiar = STREAM.normal(size=60).round(digits) + 0.5, STREAM.normal(size=90).round(digits)
        wanted = roc_auc_score([1] * 60 + [0] * 90, np.concatenate([strange, familiar]))
        assert auroc(strange, familiar)[0] == pytest.approx(wanted)


def test_without_overlap_the_interval_keeps_its_width() -> None:
    value, (low, high) = auroc(np.ones(20) + 1, np.zeros(50))

    assert (value, high) == (1, 1)
    assert 0.8 < low < 0.9


def test_the_interval_covers_as_often_as_it_says() -> None:
    from scipy.stats import norm

    stream, truth, covered = np.random.default_rng(1), norm.cdf(1 / np.sqrt(2)), 0
    for _ in range(600):
        low, high = auroc(stream.normal(size=40) + 1, stream.normal(size=60))[1]
        covered += low <= truth <= high

    assert covered / 600 >= 0.93
