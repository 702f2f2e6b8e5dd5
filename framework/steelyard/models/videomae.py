"""A transformer over pieces of video."""

from collections.abc import Sequence
from typing import Any, final

from torch import Tensor, nn

from steelyard.kinds import Kind
from steelyard.models import _vision
from steelyard.models._pretrained import pretrained as stored
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
        pretrained: A folder, `package://NAME/FOLDER` or a name of the hub whose weights are taken (safetensors only),
            all but the last layer; `patch`, `tubelet`, `width`, `layers` and `heads` are then its own.

    Raises:
        Refused: If the options or the weights do not fit the videos.
    """

    does = frozenset({Kind.VIDEO_TO_CLASS})

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
        pretrained: str | None = None,
    ) -> None:
        super().__init__()
        if len(input_shape) != 4:
            raise refuse(
                f"model=videomae needs videos (frames, channels, height, width), got {tuple(input_shape)}",
                fix="model=mlp",
            )
        frames, channels, height, across = input_shape
        self.normalise = Normalise(input_shape, mean=mean, std=std)
        dropped = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
        if pretrained is not None:
            self.network: Any = stored(
                pretrained,
                of="AutoModelForVideoClassification",
                extra="vision",
                fresh=("classifier.", "fc_norm."),
                num_labels=classes,
                **dropped,
            )
            _vision.check_kind(self.network, "videomae", place=pretrained)
            _vision.check_channels(self.network, channels, place=pretrained)
            _check_size(self.network.config, (frames, height, across), place=pretrained)
            return
        if height != across or height % patch or frames % tubelet:
            raise refuse(
                f"{frames} frames of {height}x{across} pixels cannot be cut into pieces of {tubelet} frames and "
                f"{patch}x{patch} pixels",
                fix="model.patch=4 model.tubelet=1",
            )
        if width % heads:
            raise refuse(f"model.heads={heads} does not divide model.width={width}", fix="model.heads=4")
        self.network = _vision.made(
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
            num_labels=classes,
            **dropped,
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (B, classes)."""
        return self.network(self.normalise(inputs)).logits


def _check_size(config: Any, size: tuple[int, int, int], *, place: str) -> None:
    frames, height, width = size
    if (config.num_frames, config.image_size, config.image_size) != size:
        raise refuse(
            f"model.pretrained={place} takes {config.num_frames} frames of {config.image_size}x{config.image_size} "
            f"pixels, the data has {frames} of {height}x{width}",
            fix="model.pretrained=null",
        )
