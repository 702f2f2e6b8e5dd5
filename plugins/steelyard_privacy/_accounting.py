"""Accounting of the subsampled Gaussian mechanism: what a number of private steps costs, and what a budget affords.

The certificate, the noise and the last affordable step come from privacy loss distributions (`_pld`), where they are
installed; what is shown while training goes on comes from the Renyi bound (`_rdp`), which is larger and quick.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

from steelyard_privacy import _pld, _rdp

LARGEST_NOISE = 1e4
MOST_STEPS = 10**9
PRECISION = 1e-4
"""To which the epsilon of the noise that is found comes near to its target, relatively."""
TRIES = 8
ROUGH = 0.05


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

    def live_epsilon(self, *, steps: int) -> float:
        """An upper bound on what `steps` of these cost together, in microseconds after the first call."""
        return _rdp.epsilon(rate=self.rate, noise_multiplier=self.noise_multiplier, delta=self.delta, steps=steps)

    def epsilon(self, *, steps: int) -> float:
        """What `steps` of these cost together, by the accountant of the certificate."""
        bound = self.live_epsilon(steps=steps)
        if steps == 0 or not math.isfinite(bound) or not _pld.available():
            return bound
        part = _pld.Part(rate=self.rate, noise_multiplier=self.noise_multiplier, steps=steps)
        # Losses of little noise spread over a wide range; no digit is lost by dividing it more coarsely.
        interval = _pld.FINEST * max(1.0, self.live_epsilon(steps=1))
        return min(bound, _pld.epsilon((part,), delta=self.delta, interval=interval))

    def affordable_steps(self, *, epsilon: float) -> int:
        """The largest number of steps that costs at most `epsilon`, found by bisection."""
        if self.live_epsilon(steps=MOST_STEPS) <= epsilon:
            return MOST_STEPS
        affordable, too_many = 0, _last(lambda steps: self.live_epsilon(steps=steps) <= epsilon, 0, 1) + 1
        # The quick bound is above the certificate, so that the search can begin at its answer.
        if self.epsilon(steps=too_many) > epsilon:
            if too_many > 1 and self.epsilon(steps=too_many - 1) <= epsilon:
                return too_many - 1
            return _between(lambda steps: self.epsilon(steps=steps) <= epsilon, affordable, too_many)
        return _last(lambda steps: self.epsilon(steps=steps) <= epsilon, too_many, max(1, too_many // 8))


@lru_cache(maxsize=64)
def noise_for(*, epsilon: float, delta: float, rate: float, steps: int) -> float | None:
    """The smallest noise multiplier with which `steps` cost at most `epsilon`, and no less by one part in 10,000.

    Returns:
        None if no noise is enough: see `smallest_epsilon`.
    """

    def quick(noise: float) -> float:
        return Mechanism(rate=rate, noise_multiplier=noise, delta=delta).live_epsilon(steps=steps)

    def cost(noise: float) -> float:
        return Mechanism(rate=rate, noise_multiplier=noise, delta=delta).epsilon(steps=steps)

    if quick(LARGEST_NOISE) > epsilon:
        return None
    noise = _smallest(quick, target=epsilon, precision=ROUGH)
    # Near the answer both accountants' epsilon is a power of the noise, with almost the same exponent.
    exponent = -math.log(quick(noise / (1 + ROUGH)) / quick(noise)) / math.log(1 + ROUGH)
    found = cost(noise)
    for _ in range(TRIES):
        if epsilon * (1 - PRECISION) <= found <= epsilon:
            return noise
        better = noise * (epsilon * (1 - PRECISION / 2) / found) ** (1 / exponent)
        there = cost(better)
        if there != found:
            exponent = math.log(there / found) / math.log(better / noise)
        noise, found = better, there
    return _smallest(cost, target=epsilon, precision=PRECISION / 2)


def smallest_epsilon(*, delta: float, rate: float, steps: int) -> float:
    """What `steps` cost with so much noise that nothing is learnt: the conversion from RDP ends there."""
    return Mechanism(rate=rate, noise_multiplier=LARGEST_NOISE, delta=delta).live_epsilon(steps=steps)


def together(parts: tuple[_pld.Part, ...], *, delta: float) -> float:
    """What private steps of different rates and noise cost together, on the same data."""
    if not parts:
        return 0.0
    bound = _rdp.together(parts, delta=delta)
    if not math.isfinite(bound) or not _pld.available():
        return bound
    widest = max(_rdp.together((replace(part, steps=1),), delta=delta) for part in parts)
    return min(bound, _pld.epsilon(parts, delta=delta, interval=_pld.FINEST * max(1.0, widest)))


def default_delta(population: int) -> float:
    """Well below 1/N, at which giving away one whole record would already count as private."""
    return min(1e-5, 1 / (10 * population))


def accountant() -> str:
    """The name of the accountant behind the certificate."""
    return "PLD accountant (dp-accounting)" if _pld.available() else "RDP accountant"


def other_opinion(mechanism: Mechanism, *, steps: int) -> _pld.Bounds | None:
    """Between which bounds the epsilon lies for Opacus' PRV accountant; None where it would take too long."""
    if steps == 0 or not math.isfinite(mechanism.live_epsilon(steps=steps)):
        return None
    part = _pld.Part(rate=mechanism.rate, noise_multiplier=mechanism.noise_multiplier, steps=steps)
    return _pld.prv((part,), delta=mechanism.delta)


def _last(fits: Callable[[int], bool], affordable: int, stride: int) -> int:
    """The last number that fits, by doubling strides from one that does."""
    while fits(affordable + stride):
        affordable, stride = affordable + stride, 2 * stride
    return _between(fits, affordable, affordable + stride)


def _between(fits: Callable[[int], bool], affordable: int, too_many: int) -> int:
    while too_many - affordable > 1:
        middle = (affordable + too_many) // 2
        affordable, too_many = (middle, too_many) if fits(middle) else (affordable, middle)
    return affordable


def _smallest(cost: Callable[[float], float], *, target: float, precision: float) -> float:
    """The smallest noise whose cost is at most `target`, relatively to `precision`; LARGEST_NOISE must be enough."""
    enough = 1.0
    while cost(enough) > target:
        enough *= 2
    too_little = enough / 2
    while cost(too_little) <= target:
        enough, too_little = too_little, too_little / 2
    while enough / too_little > 1 + precision:
        middle = math.sqrt(too_little * enough)
        if cost(middle) <= target:
            enough = middle
        else:
            too_little = middle
    return enough
