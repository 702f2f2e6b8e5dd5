# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""The clipping norm of each step: fixed, or drawn to a quantile of the gradients' norms (Andrew et al. 2021).

How many gradients are no longer than the norm is counted with noise. Each step then releases the count beside the
gradient, for which the gradient's noise grows: the two together cost what the noise multiplier of the account does.
"""

import math
from typing import Any, final

import torch
from torch import Tensor

from steelyard_privacy._crew import Crew
from steelyard_privacy._randomness import Normals
from steelyard_privacy.dp_sgd import DPSGD

HALF = 0.5
"""An example counts as plus or minus one half, so that adding it moves the count by no more (section 3.1 there)."""


def gradient_noise(noise_multiplier: float, *, count_noise: float) -> float | None:
    """The noise multiplier of the gradients, (z^-2 - (2 s)^-2)^(-1/2) (theorem 1 of Andrew et al. 2021).

    Args:
        noise_multiplier: z, of the account.
        count_noise: s, the standard deviation of the noise on the count.

    Returns:
        None where the count alone would cost as much as the account allows.
    """
    left = noise_multiplier**-2 - (2 * count_noise) ** -2
    return left**-0.5 if left > 0 else None


@final
class ClippingNorm:
    """What the gradients of the next step are clipped to.

    Args:
        plugin: Says how it begins, and whether it stays.
        batch_size: Expected number of examples of a step.

    Attributes:
        value: The norm.
    """

    def __init__(self, plugin: DPSGD, *, batch_size: float) -> None:
        self.value = plugin.max_grad_norm
        self._quantile, self._rate = plugin.clip_quantile, plugin.clip_rate
        self._batch_size = batch_size
        self._count_noise = plugin.clip_count_noise * batch_size
        self._count: Tensor | None = None

    @property
    def moves(self) -> bool:
        """Whether it follows a quantile."""
        return self._quantile is not None

    def noise_for(self, noise_multiplier: float) -> float:
        """The noise multiplier of the gradients, from that of the account, which is over all that a step releases.

        Raises:
            ValueError: If the count alone costs more than the account allows.
        """
        if not self.moves:
            return noise_multiplier
        found = gradient_noise(noise_multiplier, count_noise=self._count_noise)
        if found is None:
            raise ValueError("the count of short gradients costs more than the account allows")
        return found

    def see(self, norms: Tensor, crew: Crew) -> None:
        """Counts the gradients of a step that are no longer than it, over all processes."""
        if self.moves:
            self._count = (norms <= self.value).sum(dtype=torch.float32) - HALF * len(norms)
            crew.add_up(self._count)

    def follow(self, normals: Normals) -> None:
        """Moves it for the next step.

        Args:
            normals: Those of the step, after the noise of its gradient was drawn from them.
        """
        if self._quantile is None or self._count is None:
            return
        noise = torch.empty(1, dtype=torch.float32, device=self._count.device)
        normals.fill(noise, scale=self._count_noise)
        share = float(self._count + noise[0]) / self._batch_size + HALF
        self.value *= math.exp(-self._rate * (share - self._quantile))
        self._count = None

    def state(self) -> dict[str, Any]:
        """For the checkpoint: nothing but what was released."""
        return {"clipping_norm": self.value} if self.moves else {}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from there; takes it out of the state."""
        value = state.pop("clipping_norm", None)
        if value is not None and self.moves:
            self.value = float(value)
