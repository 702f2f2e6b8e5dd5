import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix, f1_score

from steelyard.tasks.f1 import confusion, macro_f1, macro_f1_interval


def drawn(count, classes, *, seed=0):
    random = np.random.default_rng(seed)
    targets = random.integers(classes, size=count)
    right = random.random(count) < 0.7
    return np.where(right, targets, random.integers(classes, size=count)), targets


@pytest.mark.parametrize("classes", [2, 5])
def test_it_is_scikit_learns(classes):
    decisions, targets = drawn(200, classes)
    found = confusion(torch.from_numpy(decisions), torch.from_numpy(targets), classes=classes)
    assert np.array_equal(found, confusion_matrix(targets, decisions))
    assert float(macro_f1(found)) == pytest.approx(f1_score(targets, decisions, average="macro"))


def test_classes_that_never_occur_do_not_count():
    decisions, targets = torch.tensor([0, 0, 2]), torch.tensor([0, 2, 2])
    found = confusion(decisions, targets, classes=4)
    assert float(macro_f1(found)) == pytest.approx(f1_score(targets, decisions, average="macro"))


def test_the_interval_is_that_of_resampled_examples():
    decisions, targets = drawn(300, 3)
    low, high = macro_f1_interval(confusion_matrix(targets, decisions))
    random = np.random.default_rng(1)
    scores = []
    for _ in range(400):
        rows = random.integers(300, size=300)
        scores.append(f1_score(targets[rows], decisions[rows], average="macro"))
    assert (low, high) == pytest.approx(np.quantile(scores, [0.025, 0.975]), abs=0.012)


@pytest.mark.parametrize("found", [np.diag([5, 7]), np.array([[1, 0], [0, 0]]), np.array([[0, 1], [0, 0]])])
def test_examples_that_are_all_right_or_alone_have_no_interval(found):
    assert macro_f1_interval(found) is None
