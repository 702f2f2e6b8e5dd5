"""A transformer that hears letters in raw samples."""

import math
from collections.abc import Sequence
from typing import Any, final

from torch import Tensor, nn

from steelyard.kinds import Kind
from steelyard.models import _speech
from steelyard.models._pretrained import pretrained as stored
from steelyard.models.hearing import check_frames, check_sound
from steelyard.problem import refuse

KERNELS = (10, 8, 4, 4, 4)
STRIDES = (5, 4, 2, 2, 2)
"""160 samples from frame to frame: 20 ms at 8,000 a second."""
SILENT = 1e-7
"""Variance of an example that counts as none."""


@final
class Wav2Vec2(nn.Module):
    """The encoder of wav2vec 2.0 (Baevski et al. 2020) of transformers and a layer for CTC: raw samples to logits.

    Each example is brought to mean 0 and spread 1 by its own numbers, as the model wants it.

    Args:
        input_shape: (T,) of one example.
        classes: Number of tokens, of which 0 is the blank.
        longest: Most tokens of a text.
        channels: Of the convolutions over samples.
        width: Of the states.
        layers: Of the stack.
        heads: Of the attention; divides `width`.
        dropout: Probability that a value is dropped in training.
        pretrained: A folder, `package://NAME/FOLDER` or a name of the hub whose weights are taken; all sizes are then
            its own, and the last layer is new. Speech must have the rate that it was trained on, mostly 16,000.

    Raises:
        Refused: If an example is no sound or has too few frames for the longest text, an option is out of range, or the
            weights cannot be loaded safely.
    """

    does = frozenset({Kind.AUDIO_TO_LETTERS})

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        classes: int,
        longest: int,
        channels: int = 32,
        width: int = 96,
        layers: int = 3,
        heads: int = 4,
        dropout: float = 0.0,
        pretrained: str | None = None,
    ) -> None:
        super().__init__()
        check_sound(input_shape, model="wav2vec2")
        # Masks and dropped layers draw numbers beside torch's own stream.
        sizes = {
            "vocab_size": classes,
            "pad_token_id": 0,
            "mask_time_prob": 0.0,
            "mask_feature_prob": 0.0,
            "layerdrop": 0.0,
        }
        if pretrained is not None:
            self.network: Any = stored(pretrained, of="AutoModelForCTC", extra="speech", fresh=("lm_head.",), **sizes)
        else:
            if width % heads or width % 16:
                raise refuse(
                    f"model.width={width} must be a multiple of 16 and of model.heads={heads}",
                    fix="model.width=96 model.heads=4",
                )
            self.network = _speech.made(
                "AutoModelForCTC",
                "Wav2Vec2Config",
                **sizes,
                conv_dim=[channels] * len(KERNELS),
                conv_kernel=[*KERNELS],
                conv_stride=[*STRIDES],
                hidden_size=width,
                num_hidden_layers=layers,
                num_attention_heads=heads,
                intermediate_size=2 * width,
                num_conv_pos_embeddings=32,
                num_conv_pos_embedding_groups=16,
                hidden_dropout=dropout,
                activation_dropout=dropout,
                attention_dropout=dropout,
                feat_proj_dropout=dropout,
                final_dropout=dropout,
            )
        check_frames(_frames(self.network.config, input_shape[0]), longest=longest, fix="data.seconds=10")

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (B, frames, classes)."""
        centred = inputs - inputs.mean(dim=1, keepdim=True)
        spread = (centred.square().mean(dim=1, keepdim=True) + SILENT).sqrt()
        return self.network(centred / spread).logits


def _frames(config: Any, samples: int) -> int:
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        samples = math.floor((samples - kernel) / stride) + 1
    return samples
