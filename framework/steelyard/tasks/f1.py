"""Macro F1: how well each class is found, all classes counting the same."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from steelyard.statistics import BOOTSTRAP_SEED, resampled


def confusion(decisions: Tensor, targets: Tensor, *, classes: int) -> NDArray[Any]:
    """How often each class was taken for each other one: (classes, classes), the true one in the rows."""
    places = (targets * classes + decisions).numpy()
    return np.bincount(places, minlength=classes * classes).reshape(classes, classes)


def macro_f1(found: NDArray[Any]) -> NDArray[Any]:
    """The mean over the classes that occur of 2 TP / (2 TP + FP + FN).

    Args:
        found: Confusion matrices (..., classes, classes).
    """
    right = np.diagonal(found, axis1=-2, axis2=-1)
    both = found.sum(axis=-1) + found.sum(axis=-2)
    each = 2 * right / np.maximum(both, 1)
    occurs = both > 0
    return (each * occurs).sum(axis=-1) / np.maximum(occurs.sum(axis=-1), 1)


def macro_f1_interval(found: NDArray[Any], *, draws: int = 1000, level: float = 0.95) -> tuple[float, float] | None:
    """The percentile interval over resampled examples; see `resampled`.

    F1 depends on the confusion matrix alone, and that of a resampled split is a multinomial draw of its cells: no
    example has to be touched again.
    """
    count = int(found.sum())
    random = np.random.default_rng(BOOTSTRAP_SEED)
    drawn = random.multinomial(count, found.ravel() / count, size=draws).reshape(draws, *found.shape)
    return resampled(macro_f1(drawn), level=level)
