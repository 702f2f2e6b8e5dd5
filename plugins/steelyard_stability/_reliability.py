# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""How far confidence and frequency lie apart: pure functions on arrays."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

Floats = NDArray[np.float64]
COLDEST, HOTTEST = 1e-3, 1e3


@dataclass(frozen=True, slots=True, kw_only=True)
class Bins:
    """Examples by confidence.

    Attributes:
        counts: Examples in each bin (K,).
        confidence: Their mean confidence (K,); 0 where a bin is empty.
        frequency: The share of them that is right (K,); 0 where a bin is empty.
    """

    counts: NDArray[np.int64]
    confidence: Floats
    frequency: Floats

    @property
    def error(self) -> float:
        """The expected calibration error: the mean distance of the two, weighed by the counts."""
        return float((self.counts * np.abs(self.confidence - self.frequency)).sum() / self.counts.sum())


def binned(confidence: Floats, right: Floats, *, bins: int) -> Bins:
    """Bins of equal width over [0, 1]; each holds its upper edge, so 1 lies in the last one.

    Args:
        confidence: The probability of each decision (N,).
        right: 1 where it is right, else 0 (N,).
        bins: How many.

    Raises:
        ValueError: If a confidence is not in [0, 1].
    """
    if not bool(((confidence >= 0) & (confidence <= 1)).all()):
        raise ValueError("probabilities must lie in [0, 1], and one of them does not (or is no number)")
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    full = np.maximum(counts, 1)
    return Bins(
        counts=counts,
        confidence=np.bincount(place, weights=confidence, minlength=bins) / full,
        frequency=np.bincount(place, weights=right, minlength=bins) / full,
    )


def null_errors(confidence: Floats, *, bins: int, draws: int, seed: int) -> Floats:
    """Calibration errors that a perfectly calibrated model with these confidences would show: (draws,)."""
    generator = np.random.default_rng(seed)
    worlds = (generator.random((draws, len(confidence))) < confidence).astype(np.float64)
    return np.array([binned(confidence, right, bins=bins).error for right in worlds])


def brier(probabilities: Floats, targets: NDArray[np.int64]) -> Floats:
    """Squared distance of each distribution from the truth (N,), from 0 to 2 (Brier 1950)."""
    truth = np.zeros_like(probabilities)
    truth[np.arange(len(targets)), targets] = 1
    return ((probabilities - truth) ** 2).sum(axis=1)


def log_losses(logits: Floats, targets: NDArray[np.int64]) -> Floats:
    """Minus the logarithm of the probability of the truth (N,), in nats; finite also where that probability is not."""
    whole: Any = logsumexp(logits, axis=1)
    return whole - logits[np.arange(len(targets)), targets]


def temperature(logits: Floats, targets: NDArray[np.int64]) -> float:
    """What the logits are divided by so that the loss on these examples is least."""

    def loss(log_heat: float) -> float:
        cooled = logits * math.exp(-log_heat)
        whole: Any = logsumexp(cooled, axis=1)
        return float((whole - cooled[np.arange(len(targets)), targets]).mean())

    found: Any = minimize_scalar(loss, bounds=(math.log(COLDEST), math.log(HOTTEST)), method="bounded")
    return math.exp(float(found.x))


def softmax(logits: Floats) -> Floats:
    """Probabilities (N, C)."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def conformal_threshold(probabilities: Floats, targets: NDArray[np.int64], *, miscoverage: float) -> float:
    """The probability from which on a class belongs to the set (least ambiguous sets, Sadinle et al. 2019).

    Of exchangeable examples at least 1 - `miscoverage` have their truth in the set. 0, every class, where these
    examples are too few to promise that with less.
    """
    nonconformity = np.sort(1 - probabilities[np.arange(len(targets)), targets])
    place = math.ceil((len(targets) + 1) * (1 - miscoverage))
    return 0.0 if place > len(targets) else float(1 - nonconformity[place - 1])
