"""A convolutional network that hears a token at every frame."""

from collections.abc import Sequence
from typing import final

from torch import Tensor, nn

from steelyard.models.disguise import Disguise
from steelyard.models.dropping import dropout_layers
from steelyard.models.hearing import check_frames, check_sound, levelled
from steelyard.models.mel import LogMel
from steelyard.problem import refuse


@final
class SpeechCNN(nn.Module):
    """Samples to logits at every second frame: log-mel bands, then residual convolutions over time, wider and wider.

    After Wav2Letter (Collobert et al. 2016), with group norm and dilation. Each example is levelled by its own numbers.

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

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        classes: int,
        sample_rate: int,
        longest: int,
        width: int = 96,
        layers: int = 6,
        kernel: int = 5,
        mels: int = 40,
        window: int = 256,
        hop: int = 80,
        dropout: float = 0.1,
        shift: int = 0,
        masks: int = 0,
    ) -> None:
        super().__init__()
        check_sound(input_shape, model="speech_cnn")
        if kernel < 1 or kernel % 2 == 0:
            raise refuse(f"model.kernel is {kernel}, must be odd", fix="model.kernel=5")
        if width < 1 or width % 8:
            raise refuse(f"model.width is {width}, must be a multiple of 8", fix="model.width=96")
        frames = (1 + input_shape[0] // hop + 1) // 2
        check_frames(frames, longest=longest, fix=f"model.hop={max(1, hop // 2)}")
        self.mel = LogMel(sample_rate=sample_rate, mels=mels, window=window, hop=hop)
        self.disguise = Disguise(shift=shift, masks=masks)
        self.first = nn.Conv1d(mels, width, kernel, stride=2, padding=kernel // 2)
        self.blocks = nn.ModuleList(
            _Block(width=width, kernel=kernel, dilation=1 + layer // 2, dropout=dropout) for layer in range(layers)
        )
        self.head = nn.Linear(width, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (B, frames, classes)."""
        state = self.first(self.disguise(levelled(self.mel(inputs))))
        for block in self.blocks:
            state = block(state)
        return self.head(state.transpose(1, 2))


@final
class _Block(nn.Module):
    """What it hears is added to what was heard."""

    def __init__(self, *, width: int, kernel: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(width, width, kernel, padding=dilation * (kernel // 2), dilation=dilation),
            nn.GroupNorm(8, width),
            nn.ReLU(),
            *dropout_layers(dropout),
        )

    def forward(self, state: Tensor) -> Tensor:
        """(B, width, frames)."""
        return state + self.layers(state)
