# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Accounting of the subsampled Gaussian mechanism: what a number of private steps costs, and what a budget affords.

Renyi DP (Mironov 2017) of the sampled Gaussian mechanism (Mironov, Talwar and Zhang 2019, section 3.3) through Opacus'
public analysis. RDP adds up over steps (Mironov 2017, proposition 1), so one vector per (rate, noise) answers every
question about the number of steps. Neighbours differ by adding or removing one example.
"""

import math
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from opacus.accountants.analysis.rdp import compute_rdp, get_privacy_spent

# Opacus' own orders end at 63, which cannot express an epsilon below about 0.1.
ORDERS: tuple[float, ...] = (
    *(1 + tenth / 10 for tenth in range(1, 100)),
    *map(float, range(12, 64)),
    128.0,
    256.0,
    512.0,
    1024.0,
)
LARGEST_NOISE = 1e4
MOST_STEPS = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Mechanism:
    """One private step: what the accountant has to know of it.

    Attributes:
        rate: Probability q with which an example enters a batch.
        noise_multiplier: Standard deviation of the noise over the clipping norm.
        delta: The probability that epsilon does not cover.
    """

    rate: float
    noise_multiplier: float
    delta: float

    def epsilon(self, *, steps: int) -> float:
        """What `steps` of these cost together; microseconds after the first call."""
        if steps == 0:
            return 0.0
        return _epsilon(steps * _rdp_of_one_step(self.rate, self.noise_multiplier), self.delta)

    def affordable_steps(self, *, epsilon: float) -> int:
        """The largest number of steps that costs at most `epsilon`, found by bisection."""
        if self.epsilon(steps=MOST_STEPS) <= epsilon:
            return MOST_STEPS
        affordable, too_many = 0, 1
        while self.epsilon(steps=too_many) <= epsilon:
            affordable, too_many = too_many, 2 * too_many
        while too_many - affordable > 1:
            middle = (affordable + too_many) // 2
            if self.epsilon(steps=middle) <= epsilon:
                affordable = middle
            else:
                too_many = middle
        return affordable


@lru_cache(maxsize=64)
def noise_for(*, epsilon: float, delta: float, rate: float, steps: int) -> float | None:
    """The smallest noise multiplier with which `steps` cost at most `epsilon`, to one part in 10,000.

    Returns:
        None if no noise is enough: see `smallest_epsilon`.
    """

    def cost(noise: float) -> float:
        return Mechanism(rate=rate, noise_multiplier=noise, delta=delta).epsilon(steps=steps)

    enough = 1.0
    while cost(enough) > epsilon:
        enough *= 2
        if enough > LARGEST_NOISE:
            return None
    too_little = enough / 2
    while cost(too_little) <= epsilon:
        enough, too_little = too_little, too_little / 2
    while enough / too_little > 1.0001:
        middle = math.sqrt(too_little * enough)
        if cost(middle) <= epsilon:
            enough = middle
        else:
            too_little = middle
    return enough


def smallest_epsilon(*, delta: float, rate: float, steps: int) -> float:
    """What `steps` cost with so much noise that nothing is learnt: the conversion from RDP ends there."""
    return Mechanism(rate=rate, noise_multiplier=LARGEST_NOISE, delta=delta).epsilon(steps=steps)


def default_delta(population: int) -> float:
    """Well below 1/N, at which giving away one whole record would already count as private."""
    return min(1e-5, 1 / (10 * population))


def _epsilon(rdp: Any, delta: float) -> float:
    with warnings.catch_warnings():
        # "expand the range of alphas": the bound holds at the end of the range, too.
        warnings.simplefilter("ignore", UserWarning)
        epsilon, _ = get_privacy_spent(orders=list(ORDERS), rdp=rdp, delta=delta)
    return max(0.0, float(epsilon))


@lru_cache(maxsize=256)
def _rdp_of_one_step(rate: float, noise_multiplier: float) -> Any:
    if noise_multiplier == 0:
        return np.full(len(ORDERS), np.inf)
    return np.asarray(compute_rdp(q=rate, noise_multiplier=noise_multiplier, steps=1, orders=list(ORDERS)))
