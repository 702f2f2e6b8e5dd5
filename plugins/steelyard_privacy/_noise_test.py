# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Does the noise that was added have the size that was promised?"""

from typing import final

import torch
from scipy.stats import chi2
from torch import Tensor

FALSE_ALARM = 1e-6
KEPT = 64
"""Steps that are looked at before they are added up."""
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
        self._norms: list[Tensor] = []
        self._scales: list[float] = []
        self._squares = 0.0

    def add(self, released: Tensor, total: Tensor, *, batch_size: float, scale: float) -> None:
        """Looks at one step's noise, which should have the standard deviation `scale`."""
        if scale <= 0:
            return
        start = self._start if self._start < len(total) else 0
        window = slice(start, start + WINDOW)
        self._start = window.stop
        less_noise = torch.sub(total[window], released[window], alpha=batch_size)
        self._norms.append(torch.linalg.vector_norm(less_noise, dtype=torch.float64))
        self._scales.append(scale)
        self._count += len(less_noise)
        if len(self._norms) == KEPT:
            self._gather()

    def failed(self) -> bool:
        """True if correct noise would look like this in less than one of a million runs."""
        if not self._count:
            return False
        self._gather()
        squares = self._squares
        tail = min(float(chi2.cdf(squares, self._count)), float(chi2.sf(squares, self._count)))
        return not tail > FALSE_ALARM / 2

    def _gather(self) -> None:
        """One look at numbers that may lie on another device serves many steps."""
        if self._norms:
            norms: list[float] = torch.stack(self._norms).tolist()
            self._squares += sum((norm / scale) ** 2 for norm, scale in zip(norms, self._scales, strict=True))
            self._norms.clear()
            self._scales.clear()
