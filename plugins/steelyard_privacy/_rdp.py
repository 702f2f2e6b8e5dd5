# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Renyi accounting: microseconds a question, so that it can follow the training step by step.

Renyi DP (Mironov 2017) of the sampled Gaussian mechanism (Mironov, Talwar and Zhang 2019, section 3.3) through Opacus'
public analysis. RDP adds up over steps (Mironov 2017, proposition 1), so one vector per (rate, noise) answers every
question about the number of steps. Neighbours differ by adding or removing one example.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from opacus.accountants.analysis.rdp import compute_rdp

from steelyard_privacy._pld import Part

# Opacus' own orders end at 63, which cannot express an epsilon below about 0.1.
ORDERS: tuple[float, ...] = (
    *(1 + tenth / 10 for tenth in range(1, 100)),
    *map(float, range(12, 64)),
    128.0,
    256.0,
    512.0,
    1024.0,
)
_ALPHA: Any = np.asarray(ORDERS)


def epsilon(*, rate: float, noise_multiplier: float, delta: float, steps: int) -> float:
    """What `steps` cost at most: the conversion of Balle et al. (2020, theorem 21), smallest over the orders."""
    return _converted(steps * _one_step(rate, noise_multiplier), delta) if steps else 0.0


def together(parts: Sequence[Part], *, delta: float) -> float:
    """What parts of different rates and noise cost together at most."""
    return _converted(sum(part.steps * _one_step(part.rate, part.noise_multiplier) for part in parts), delta)


def _converted(rdp: Any, delta: float) -> float:
    return max(0.0, float((rdp + _conversion(delta)).min()))


@lru_cache(maxsize=64)
def _conversion(delta: float) -> Any:
    return np.log1p(-1 / _ALPHA) - np.log(delta * _ALPHA) / (_ALPHA - 1)


@lru_cache(maxsize=256)
def _one_step(rate: float, noise_multiplier: float) -> Any:
    if noise_multiplier == 0:
        return np.full(len(ORDERS), np.inf)
    found = np.asarray(compute_rdp(q=rate, noise_multiplier=noise_multiplier, steps=1, orders=list(ORDERS)))
    # An order at which the series is lost in rounding bounds nothing.
    return np.where(np.isnan(found), np.inf, found)
