"""Normalisation as the first layer, so that the data stays in raw units."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from steelyard.problem import refuse


@final
class Normalise(nn.Module):
    """(x - mean) / std with fixed numbers, kept in the checkpoint as buffers.

    Args:
        input_shape: Shape of one example, channels or columns first.
        mean: One number, or one per channel or column.
        std: One number above 0, or one per channel or column.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, input_shape: Sequence[int], *, mean: float | Sequence[float] = 0.0, std: float | Sequence[float] = 1.0
    ) -> None:
        super().__init__()
        self.register_buffer("mean", _column("mean", mean, shape=input_shape))
        self.register_buffer("std", _column("std", std, shape=input_shape))

    def forward(self, inputs: Tensor) -> Tensor:
        """The normalised inputs."""
        return (inputs - self.mean) / self.std


def _column(name: str, values: float | Sequence[float], *, shape: Sequence[int]) -> Tensor:
    numbers = [float(value) for value in values] if isinstance(values, Sequence) else [float(values)]
    if len(numbers) not in (1, shape[0]):
        raise refuse(
            f"model.{name} has {len(numbers)} numbers, inputs of shape {tuple(shape)} need 1 or {shape[0]}",
            fix=f"model.{name}={1.0 if name == 'std' else 0.0}",
        )
    if name == "std" and min(numbers) <= 0:
        raise refuse(f"model.std has {min(numbers):g} in it, must be more than 0", fix="model.std=1.0")
    return torch.tensor(numbers).reshape(-1, *[1] * (len(shape) - 1))
