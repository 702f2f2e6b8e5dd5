"""A convolutional network that hears a token at every frame."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from steelyard.kinds import Kind
from steelyard.models.disguise import Disguise
from steelyard.models.dropping import dropout_layers
from steelyard.models.hearing import check_frames, check_sound, levelled, loudness
from steelyard.models.mel import LogMel
from steelyard.problem import check_least, refuse

STRIDE = 2
"""Frames of the spectrogram for one of the answer."""
QUIET = 0.01
"""Part of an example's mean energy at which a frame is as likely silent as not."""
MUTE = 1e-5
"""Odds that are left to tokens in a silent frame."""


@final
class SpeechCNN(nn.Module):
    """Samples to logits at every second frame: log-mel bands, then residual convolutions over time.

    After Wav2Letter (Collobert et al. 2016), with layers that are normed before they hear (He et al. 2016). Each
    example is levelled by its own numbers.

    CTC alone does not say where a token belongs. With silence around the speech, tokens that stand at its edges are a
    resting place in which training could stay for ten epochs, by the seed. Two things keep it out. Frames are normed
    one by one, so that none knows more of others than its convolutions hear. And silence says nothing: the logarithm of
    a frame's loudness is added to the logits of all tokens but the blank.

    Args:
        input_shape: (T,) of one example.
        classes: Number of tokens, of which 0 is the blank of CTC.
        sample_rate: Samples a second.
        longest: Most tokens of a text.
        width: Channels of every layer.
        layers: How many residual blocks.
        kernel: Frames that a convolution sees, an odd number.
        mels: Number of mel bands.
        window: Samples in a window.
        hop: Samples from one window to the next.
        dropout: Probability that a value in a block is dropped in training.
        shift: In training, bands by which voices are shifted up or down at most.
        masks: In training, stripes of bands, and of frames, that are hidden.

    Raises:
        Refused: If an example is no sound or has too few frames for the longest text, or an option is out of range.
    """

    does = frozenset({Kind.AUDIO_TO_LETTERS})

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        classes: int,
        sample_rate: int,
        longest: int,
        width: int = 128,
        layers: int = 6,
        kernel: int = 5,
        mels: int = 40,
        window: int = 256,
        hop: int = 80,
        dropout: float = 0.1,
        shift: int = 2,
        masks: int = 1,
    ) -> None:
        super().__init__()
        check_sound(input_shape, model="speech_cnn")
        if kernel < 1 or kernel % 2 == 0:
            raise refuse(f"model.kernel is {kernel}, must be odd", fix="model.kernel=5")
        check_least("model.width", width, 2, fix=128)
        frames = (1 + input_shape[0] // hop + 1) // STRIDE
        check_frames(frames, longest=longest, fix=f"model.hop={max(1, hop // 2)}")
        self.mel = LogMel(sample_rate=sample_rate, mels=mels, window=window, hop=hop)
        self.disguise = Disguise(shift=shift, masks=masks)
        self.first = nn.Conv1d(mels, width, kernel, stride=STRIDE, padding=kernel // 2)
        self.blocks = nn.ModuleList(_Block(width=width, kernel=kernel, dropout=dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (B, frames, classes)."""
        mels = self.mel(inputs)
        state = self.first(self.disguise(levelled(mels))).transpose(1, 2)
        for block in self.blocks:
            state = block(state)
        logits = self.head(self.norm(state))
        loud = loudness(mels, floor=self.mel.floor, quiet=QUIET, stride=STRIDE)
        blank, tokens = logits[..., :1], logits[..., 1:]
        return torch.cat([blank, tokens + (loud + MUTE).log()[..., None]], dim=-1)


@final
class _Block(nn.Module):
    """What it hears is added to what was heard."""

    def __init__(self, *, width: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.act = nn.ReLU()
        self.hear = nn.Conv1d(width, width, kernel, padding=kernel // 2)
        self.drop = nn.Sequential(*dropout_layers(dropout))

    def forward(self, state: Tensor) -> Tensor:
        """(B, frames, width)."""
        heard = self.hear(self.act(self.norm(state)).transpose(1, 2)).transpose(1, 2)
        return state + self.drop(heard)
