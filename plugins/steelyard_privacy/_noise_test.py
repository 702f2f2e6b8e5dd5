# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Does the noise that was added have the size that was promised?"""

from typing import final

import torch
from scipy.stats import chi2
from torch import Tensor

FALSE_ALARM = 1e-6
KEPT = 64
"""Steps that are looked at before they are added up."""
WINDOW = 2**13
"""Weights looked at in one step. The window moves on from step to step, so that no weight is left out."""
FEW = 2**12
"""So few are kept as they are until they are added up, which is one operation less a step."""


@final
class NoiseTest:
    """A chi-square test of what is added to the clipped sum against N(0, (sigma C)^2), over weights and steps.

    Only its verdict leaves the run: the size of the noise itself would help to take it off.
    """

    def __init__(self) -> None:
        self._count = 0
        self._start = 0
        self._waiting: list[Tensor] = []
        self._scales: list[float] = []
        self._squares = 0.0

    def window(self, size: int) -> slice:
        """What is looked at in the next step, of so many weights."""
        start = self._start if self._start < size else 0
        self._start = start + WINDOW
        return slice(start, start + WINDOW)

    def add(self, noise: Tensor, *, scale: float) -> None:
        """Looks at one step's noise within the window, which should have the standard deviation `scale`, above 0."""
        size = noise.shape[0]
        self._count += size
        if size > FEW:
            noise = torch.linalg.vector_norm(noise, dtype=torch.float64).view(1)
        if self._waiting and self._waiting[0].shape != noise.shape:
            self._gather()
        self._waiting.append(noise)
        self._scales.append(scale)
        if len(self._waiting) == KEPT:
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
        if self._waiting:
            norms: list[float] = torch.linalg.vector_norm(
                torch.stack(self._waiting), dim=1, dtype=torch.float64
            ).tolist()
            self._squares += sum((norm / scale) ** 2 for norm, scale in zip(norms, self._scales, strict=True))
            self._waiting.clear()
            self._scales.clear()
