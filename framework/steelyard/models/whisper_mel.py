# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""What a stored Whisper hears, as a differentiable module."""

import math
from typing import final

import torch
from torch import Tensor, nn
from torch.fft import rfft

from steelyard.models.mel import mel_filters
from steelyard.problem import refuse

RATE = 16_000
WINDOW, HOP = 400, 160
FLOOR = 1e-10
"""Energy below which all is silence."""
DEPTH = 8.0
"""How many powers of ten below its loudest moment an example is heard."""


@final
class WhisperMel(nn.Module):
    """Samples (B, T) at 16,000 a second to the bands of Whisper (B, mels, frames) (Radford et al. 2022, section 2.2).

    Slaney's mel scale and areas, logarithm to base ten, each example cut off eight powers of ten below its loudest
    moment. Silence follows what is shorter than the model's window, mostly 30 seconds.

    Args:
        sample_rate: Samples a second.
        mels: Number of bands.
        frames: That the model takes, 100 a second.
        longest: Samples of an example.

    Raises:
        Refused: If the rate is another, or an example is longer than the model's window.
    """

    filters: Tensor
    hann: Tensor

    def __init__(self, *, sample_rate: int, mels: int, frames: int, longest: int) -> None:
        super().__init__()
        if sample_rate != RATE:
            raise refuse(
                f"a stored Whisper hears {RATE} samples a second, the data have {sample_rate}",
                fix=f"data.sample_rate={RATE}",
            )
        self.samples = frames * HOP
        if longest > self.samples:
            raise refuse(
                f"sounds have {longest / RATE:g} seconds, the model hears {self.samples / RATE:g}",
                fix=f"data.seconds={self.samples / RATE:g}",
            )
        filters = mel_filters(sample_rate=RATE, mels=mels, bins=WINDOW // 2 + 1, scale="slaney")
        self.register_buffer("filters", filters, persistent=False)
        self.register_buffer("hann", torch.hann_window(WINDOW), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        """(B, mels, frames)."""
        whole = nn.functional.pad(samples, (0, self.samples - samples.shape[1]))
        edge = WINDOW // 2
        padded = nn.functional.pad(whole, (edge, edge), mode="reflect")
        windows = padded.unfold(1, WINDOW, HOP)[:, :-1] * self.hann
        energy = torch.view_as_real(rfft(windows)).square().sum(dim=-1)
        logs = (energy @ self.filters).clamp(min=FLOOR).log().transpose(1, 2) / math.log(10)
        loudest = logs.amax(dim=(1, 2), keepdim=True)
        return (torch.maximum(logs, loudest - DEPTH) + 4) / 4
