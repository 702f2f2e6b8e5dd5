# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Does the noise that was added have the size that was promised?"""

from typing import final

import torch
from scipy.stats import chi2
from torch import Tensor

FALSE_ALARM = 1e-6


@final
class NoiseTest:
    """A chi-square test of (released gradient - clipped sum) against N(0, (sigma C)^2), over all weights and steps.

    Only its verdict leaves the run: the size of the noise itself would help to take it off.
    """

    def __init__(self) -> None:
        self._count = 0
        self._squares: Tensor | None = None

    def add(self, noise: Tensor, *, scale: float) -> None:
        """Looks at one step's noise, which should have the standard deviation `scale`."""
        if scale > 0:
            square = (noise.double() / scale).square().sum()
            self._squares = square if self._squares is None else self._squares + square
            self._count += noise.numel()

    def failed(self) -> bool:
        """True if correct noise would look like this in less than one of a million runs."""
        if self._squares is None:
            return False
        squares = float(self._squares)
        tail = min(float(chi2.cdf(squares, self._count)), float(chi2.sf(squares, self._count)))
        return not tail > FALSE_ALARM / 2


def noise_in(released: Tensor, total: Tensor, *, batch_size: float) -> Tensor:
    """What was added to the clipped sum."""
    return torch.sub(released * batch_size, total)
