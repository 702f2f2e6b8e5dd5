"""A small convolutional network."""

import math
from collections.abc import Sequence
from typing import Literal, final, get_args

from torch import Tensor, nn

from steelyard.kinds import Kind
from steelyard.models.dropping import dropout_layers
from steelyard.models.imaging import check_images
from steelyard.models.normalise import Normalise
from steelyard.problem import refuse

Norm = Literal["group", "batch", "none"]


@final
class CNN(nn.Module):
    """Blocks of convolution, normalisation and ReLU, each but the first halving height and width, then logits.

    Every activation is a module used once, so that hooks see each of them.

    Args:
        input_shape: (channels, height, width) of one example.
        classes: Number of logits.
        channels: Of each block.
        norm: `group` looks at one example at a time; `batch` mixes the examples of a batch; or `none`.
        dropout: Probability that a value before the last layer is dropped in training.
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
        norm: Norm = "group",
        dropout: float = 0.0,
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
    ) -> None:
        super().__init__()
        check_images("cnn", input_shape)
        if norm not in get_args(Norm):
            raise refuse(f"model.norm is {norm!r}, must be one of {', '.join(get_args(Norm))}", fix="model.norm=group")
        if min(channels, default=1) < 1:
            raise refuse(
                f"model.channels is {list(channels)}: a block needs at least one", fix="model.channels=[16,32]"
            )
        width, *size = input_shape
        layers: list[nn.Module] = [Normalise(input_shape, mean=mean, std=std)]
        for number, wide in enumerate(channels):
            stride = 2 if number else 1
            layers += [nn.Conv2d(width, wide, kernel_size=3, stride=stride, padding=1), *_norm(norm, wide), nn.ReLU()]
            size = [math.ceil(side / stride) for side in size]
            width = wide
        self.layers = nn.Sequential(
            *layers, *dropout_layers(dropout), nn.Flatten(), nn.Linear(width * math.prod(size), classes)
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (B, classes)."""
        return self.layers(inputs)


def _norm(norm: Norm, channels: int) -> list[nn.Module]:
    match norm:
        case "group":
            return [nn.GroupNorm(math.gcd(8, channels), channels)]
        case "batch":
            return [nn.BatchNorm2d(channels)]
        case "none":
            return []
