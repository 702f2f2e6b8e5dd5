"""A multilayer perceptron."""

import math
from collections.abc import Sequence
from typing import final

from torch import Tensor, nn

from steelyard.kinds import NUMBERS_TO_CLASS
from steelyard.models.dropping import dropout_layers
from steelyard.models.normalise import Normalise
from steelyard.problem import refuse


@final
class MLP(nn.Module):
    """Flattened inputs through hidden ReLU layers to logits; 784-128-10 on 28x28 pixels and ten classes.

    Every activation is a module used once, so that hooks see each of them.

    Args:
        input_shape: Shape of one example.
        classes: Number of logits.
        hidden: Widths of the hidden layers.
        dropout: Probability that a hidden unit is dropped in training.
        mean: Subtracted from the inputs.
        std: The inputs are divided by it.
    """

    does = NUMBERS_TO_CLASS

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        classes: int,
        hidden: Sequence[int] = (128,),
        dropout: float = 0.0,
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
    ) -> None:
        super().__init__()
        if min(hidden, default=1) < 1:
            raise refuse(f"model.hidden is {list(hidden)}: a layer needs at least one unit", fix="model.hidden=[128]")
        layers: list[nn.Module] = [Normalise(input_shape, mean=mean, std=std), nn.Flatten()]
        width = math.prod(input_shape)
        for wide in hidden:
            layers += [nn.Linear(width, wide), nn.ReLU(), *dropout_layers(dropout)]
            width = wide
        self.layers = nn.Sequential(*layers, nn.Linear(width, classes))

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (B, classes)."""
        return self.layers(inputs)
