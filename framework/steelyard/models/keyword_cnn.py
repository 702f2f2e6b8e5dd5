"""A small convolutional network over log-mel spectrograms."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from steelyard.kinds import Kind
from steelyard.models.disguise import Disguise
from steelyard.models.dropping import dropout_layers
from steelyard.models.hearing import check_sound, levelled
from steelyard.models.mel import LogMel
from steelyard.problem import refuse


class SoundEmbedding(nn.Module):
    """Samples (B, T) to one vector: log-mel bands, blocks of convolution, group norm and ReLU, the mean over time.

    Each example's spectrogram is brought to mean 0 and spread 1 by its own numbers, so loudness does not count. Every
    activation is a module used once, so that hooks see each of them.

    Args:
        input_shape: (T,) of one example.
        sample_rate: Samples a second.
        channels: Of each block; every block halves time and bands.
        mels: Number of mel bands.
        window: Samples in a window.
        hop: Samples from one window to the next.
        dropout: Probability that a value before the last layer is dropped in training.
        shift: In training, bands by which voices are shifted up or down at most.
        masks: In training, stripes of bands, and of frames, that are hidden.

    Attributes:
        width: How many numbers the vector has.

    Raises:
        Refused: If an example is no sound, or an option is out of range.
    """

    does: ClassVar[frozenset[Kind]] = frozenset({Kind.AUDIO_TO_VECTOR})

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        sample_rate: int,
        channels: Sequence[int] = (16, 32, 64),
        mels: int = 40,
        window: int = 256,
        hop: int = 80,
        dropout: float = 0.0,
        shift: int = 0,
        masks: int = 0,
    ) -> None:
        super().__init__()
        check_sound(input_shape, model="keyword_cnn")
        if not channels or min(channels) < 1:
            raise refuse(f"model.channels is {list(channels)}: a block needs at least one", fix="model.channels=[16]")
        self.mel = LogMel(sample_rate=sample_rate, mels=mels, window=window, hop=hop)
        self.disguise = Disguise(shift=shift, masks=masks)
        layers: list[nn.Module] = []
        before, bands = 1, mels
        for wide in channels:
            layers += [
                nn.Conv2d(before, wide, kernel_size=3, padding=1),
                nn.GroupNorm(math.gcd(8, wide), wide),
                nn.ReLU(),
                nn.MaxPool2d(2, ceil_mode=True),
            ]
            before, bands = wide, math.ceil(bands / 2)
        self.layers = nn.Sequential(*layers)
        self.drop = nn.Sequential(*dropout_layers(dropout))
        self.width = before * bands

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, width)."""
        seen = self.layers(self.disguise(levelled(self.mel(inputs)))[:, None])
        return self.drop(torch.flatten(seen.mean(dim=3), start_dim=1))


@final
class KeywordCNN(SoundEmbedding):
    """Samples (B, T) to logits: a sound's vector, and one layer on it.

    Args:
        classes: Number of logits.
        options: See `SoundEmbedding`.
    """

    does = frozenset({Kind.AUDIO_TO_CLASS})

    def __init__(self, *, classes: int, **options: Any) -> None:
        super().__init__(**options)
        self.head = nn.Linear(self.width, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (B, classes)."""
        return self.head(super().forward(inputs))
