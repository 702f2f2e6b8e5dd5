# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
"""The noise of each step, seen from outside: what a vector was before, against what it is afterwards."""

from typing import final

import torch
from torch import Tensor

from steelyard_privacy._controls import NoiseControl
from steelyard_privacy._noise_test import FEW, NoiseTest


@final
class NoiseWatch:
    """Shows the noise to those who test it. Few of the weights are copied: noise is added in the sum's own memory.

    Args:
        control: Looks at some coordinates of each parameter.

    Attributes:
        test: Looks at a window that moves over all weights.
    """

    def __init__(self, control: NoiseControl) -> None:
        self.test = NoiseTest()
        self._control = control
        self._window: slice | None = None
        self._before = self._places = torch.empty(0)

    def before(self, total: Tensor, *, sizes: tuple[int, ...]) -> None:
        """Notes the clipped sum, flat, to which noise is about to be added; `sizes` are those of its parameters."""
        size = total.shape[0]
        window = self.test.window(size)
        self._window = window if size > FEW else None
        self._before = total.clone() if self._window is None else total[self._window].clone()
        self._control.begin(sizes, total.device)
        if size > FEW:
            self._places = self._control.picked(total)

    def after(self, released: Tensor, *, batch_size: float, scale: float) -> None:
        """Looks at the result, (sum + noise) / batch_size; `scale` is the promised standard deviation of the noise."""
        if scale <= 0:
            return
        seen = released if self._window is None else released[self._window]
        noise = torch.sub(self._before, seen, alpha=batch_size)
        self.test.add(noise, scale=scale)
        if self._window is not None:
            noise = torch.sub(self._places, self._control.picked(released), alpha=batch_size)
        self._control.add(noise, scale=scale)
