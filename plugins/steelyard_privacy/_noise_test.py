# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Does the noise that was added have the size that was promised?"""

from typing import final

import torch
from scipy.stats import chi2
from torch import Tensor

FALSE_ALARM = 1e-6
WINDOW = 2**16
"""Weights looked at in one step. The window moves on from step to step, so that no weight is left out."""


@final
class NoiseTest:
    """A chi-square test of (released gradient - clipped sum) against N(0, (sigma C)^2), over weights and steps.

    Only its verdict leaves the run: the size of the noise itself would help to take it off.
    """

    def __init__(self) -> None:
        self._count = 0
        self._start = 0
        self._squares: Tensor | None = None

    def add(self, released: Tensor, total: Tensor, *, batch_size: float, scale: float) -> None:
        """Looks at one step's noise, which should have the standard deviation `scale`."""
        if scale <= 0:
            return
        start = self._start if self._start < len(total) else 0
        window = slice(start, start + WINDOW)
        self._start = window.stop
        noise = noise_in(released[window], total[window], batch_size=batch_size).double()
        square = noise.square().sum() / scale**2
        self._squares = square if self._squares is None else self._squares + square
        self._count += len(noise)

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
