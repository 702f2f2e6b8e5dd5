"""A small convolutional network for private training."""

import math
from collections.abc import Sequence
from typing import final

from torch import Tensor, nn

from steelyard.kinds import Kind
from steelyard.models.imaging import check_images
from steelyard.models.normalise import Normalise
from steelyard.problem import refuse

SMALLEST = 16


@final
class TanhCNN(nn.Module):
    """Two wide convolutions with tanh and overlapping pooling, then two Linear layers.

    Bounded activations keep the gradients of single examples small, so that clipping takes less from them (Papernot et
    al. 2021, "Tempered sigmoid activations", table 1); no layer mixes the examples of a batch.

    Args:
        input_shape: (channels, height, width) of one example, both sides at least 16.
        classes: Number of logits.
        channels: Of the two convolutions.
        hidden: Width of the first Linear layer.
        mean: Subtracted from the inputs.
        std: The inputs are divided by it.
    """

    does = frozenset({Kind.IMAGE_TO_CLASS})

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        classes: int,
        channels: Sequence[int] = (16, 32),
        hidden: int = 32,
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
    ) -> None:
        super().__init__()
        check_images("tanh_cnn", input_shape, smallest=SMALLEST)
        if len(channels) != 2 or min(channels) < 1:
            raise refuse(
                f"model.channels is {list(channels)}: there are two convolutions", fix="model.channels=[16,32]"
            )
        first, second = channels
        sides = [_after(side) for side in input_shape[1:]]
        self.layers = nn.Sequential(
            Normalise(input_shape, mean=mean, std=std),
            nn.Conv2d(input_shape[0], first, kernel_size=8, stride=2, padding=3),
            nn.Tanh(),
            nn.MaxPool2d(kernel_size=2, stride=1),
            nn.Conv2d(first, second, kernel_size=4, stride=2),
            nn.Tanh(),
            nn.MaxPool2d(kernel_size=2, stride=1),
            nn.Flatten(),
            nn.Linear(second * math.prod(sides), hidden),
            nn.Tanh(),
            nn.Linear(hidden, classes),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (B, classes)."""
        return self.layers(inputs)


def _after(side: int) -> int:
    first = (side + 2 * 3 - 8) // 2 + 1
    return ((first - 1) - 4) // 2 + 1 - 1
