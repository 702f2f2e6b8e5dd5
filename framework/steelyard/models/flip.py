"""Mirror images in training."""

from typing import final

import torch
from torch import Tensor, nn

from steelyard.problem import refuse


@final
class Flip(nn.Module):
    """Turns images left to right at random in training, each by a coin of its own; in evaluation it does nothing.

    Args:
        probability: Of being turned.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        if not 0 <= probability <= 1:
            raise refuse(f"model.flip is {probability:g}, must be in [0, 1]", fix="model.flip=0.5")
        self.probability = probability

    def forward(self, inputs: Tensor) -> Tensor:
        """Images (..., height, width)."""
        if not self.training or not self.probability:
            return inputs
        turned = torch.rand(len(inputs), device=inputs.device) < self.probability
        return torch.where(turned.reshape(-1, *[1] * (inputs.dim() - 1)), inputs.flip(-1), inputs)
