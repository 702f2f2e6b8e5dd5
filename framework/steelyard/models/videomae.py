"""A transformer over pieces of video."""

from collections.abc import Sequence
from typing import Any, final

from torch import Tensor, nn

from steelyard.models import _vision
from steelyard.models.normalise import Normalise
from steelyard.problem import refuse


@final
class VideoMAE(nn.Module):
    """The encoder of VideoMAE (Tong et al. 2022) of transformers, trained on labels, from raw pixels to logits.

    Args:
        input_shape: (frames, channels, height, width) of one example; height and width are equal.
        classes: Number of logits.
        patch: Height and width of a piece; divides those of the frames.
        tubelet: Frames of a piece; divides their number.
        width: Of the states.
        layers: Of the stack.
        heads: Of the attention; divides `width`.
        dropout: Probability that a value is dropped in training.
        mean: Subtracted from the inputs.
        std: The inputs are divided by it.
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        classes: int,
        patch: int = 8,
        tubelet: int = 2,
        width: int = 64,
        layers: int = 3,
        heads: int = 4,
        dropout: float = 0.0,
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
    ) -> None:
        super().__init__()
        if len(input_shape) != 4:
            raise refuse(
                f"model=videomae needs videos (frames, channels, height, width), got {tuple(input_shape)}",
                fix="model=mlp",
            )
        frames, channels, height, across = input_shape
        if height != across or height % patch or frames % tubelet:
            raise refuse(
                f"{frames} frames of {height}x{across} pixels cannot be cut into pieces of {tubelet} frames and "
                f"{patch}x{patch} pixels",
                fix="model.patch=4 model.tubelet=1",
            )
        if width % heads:
            raise refuse(f"model.heads={heads} does not divide model.width={width}", fix="model.heads=4")
        self.normalise = Normalise(input_shape, mean=mean, std=std)
        self.network: Any = _vision.made(
            "VideoMAEForVideoClassification",
            "VideoMAEConfig",
            image_size=height,
            patch_size=patch,
            num_channels=channels,
            num_frames=frames,
            tubelet_size=tubelet,
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=4 * width,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
            num_labels=classes,
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (B, classes)."""
        return self.network(self.normalise(inputs)).logits
