# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingImports=false
"""The certificate's accountant: privacy loss distributions of the library dp-accounting, exact to three or four digits.

The distribution of one step is discretised so that it can only overstate the loss ("connect the dots", Doroshenko et
al. 2022), and composed by Fourier transform. dp-accounting is optional: without it the certificate is the Renyi bound.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import numpy as np
from opacus.accountants import PRVAccountant
from scipy import fft

INSTALL = "pip install --no-deps dp-accounting==0.6.0"
FINEST = 1e-4
PRV_ERROR = 0.01
PRV_LEAST_NOISE = 0.5
"""Below it Opacus' PRV accountant takes minutes, or never ends."""
PLANS = 16
"""Of each kind of Fourier transform so many plans are kept, by scipy 1.17."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Some equal private steps.

    Attributes:
        rate: Probability with which an example enters a batch.
        noise_multiplier: Standard deviation of the noise over the clipping norm, above 0.
        steps: How many, at least 1.
    """

    rate: float
    noise_multiplier: float
    steps: int


@dataclass(frozen=True, slots=True)
class Bounds:
    """Between these another accountant says that the true epsilon lies."""

    low: float
    high: float


@lru_cache(maxsize=1)
def available() -> bool:
    """True where dp-accounting is installed."""
    return find_spec("dp_accounting") is not None


@lru_cache(maxsize=512)
def epsilon(parts: tuple[Part, ...], *, delta: float, interval: float = FINEST) -> float:
    """What all parts cost together, never less than the truth.

    Args:
        parts: One at least.
        delta: The probability that epsilon does not cover.
        interval: Of the discretisation, in units of epsilon; a coarser one is faster and overstates more.
    """
    composed: Any = None
    for part in parts:
        own = _one_step(part.rate, part.noise_multiplier, interval).self_compose(part.steps)
        composed = own if composed is None else composed.compose(own)
    _forget_plans()
    return float(composed.get_epsilon_for_delta(delta))


def prv(parts: Sequence[Part], *, delta: float) -> Bounds | None:
    """The bounds of Opacus' PRV accountant (Gopi et al. 2021), or None where it might not end."""
    if not parts or min(part.noise_multiplier for part in parts) < PRV_LEAST_NOISE:
        return None
    accountant = PRVAccountant()
    accountant.history = [(part.noise_multiplier, part.rate, part.steps) for part in parts]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        high = float(accountant.get_epsilon(delta, eps_error=PRV_ERROR))
    _forget_plans()
    # It gives its estimate plus the error that it allows.
    return Bounds(high - 2 * PRV_ERROR, high)


def _forget_plans() -> None:
    """Scipy keeps the plans of its last Fourier transforms, as large as what they transformed: others take their place.

    Otherwise each composition of another length would keep some ten megabytes for the whole training.
    """
    for length in range(1, PLANS + 1):
        numbers = np.zeros(length)
        fft.fft(numbers.astype(complex))
        fft.rfft(numbers)


@lru_cache(maxsize=64)
def _one_step(rate: float, noise_multiplier: float, interval: float) -> Any:
    from dp_accounting.pld import privacy_loss_distribution

    return privacy_loss_distribution.from_gaussian_mechanism(
        noise_multiplier, sampling_prob=rate, value_discretization_interval=interval
    )
