# pyright: reportUnknownMemberType=false
"""How many gradients were longer than what they were clipped to."""

from typing import final

import torch
from torch import Tensor

KEPT = 64
"""Steps that wait until they are counted: to ask a device for one number takes longer than to count many."""


@final
class Tally:
    """Counts gradients, with no noise: for the owner of the data.

    Attributes:
        seen: All of them.
    """

    def __init__(self) -> None:
        self.seen = 0
        self._clipped = 0
        self._waiting: list[Tensor] = []
        self._max_norm = 0.0

    def add(self, norms: Tensor, *, max_norm: float) -> None:
        """Counts the gradients of a step, which had these norms (n,) before they were clipped to `max_norm`."""
        if max_norm != self._max_norm or len(self._waiting) == KEPT:
            self._gather()
            self._max_norm = max_norm
        self._waiting.append(norms)
        self.seen += norms.shape[0]

    @property
    def clipped(self) -> int:
        """Those that were longer, or not finite."""
        self._gather()
        return self._clipped

    def _gather(self) -> None:
        if self._waiting:
            norms = torch.cat(self._waiting)
            self._clipped += norms.shape[0] - int(torch.count_nonzero(norms <= self._max_norm))
            self._waiting.clear()
