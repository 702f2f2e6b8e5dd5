# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""The mel spectrogram as a differentiable module."""

import math
from typing import Literal, final

import torch
from torch import Tensor, nn
from torch.fft import rfft

from steelyard.problem import check_least, refuse

Scale = Literal["htk", "slaney"]
KNEE, LINEAR, STEP = 1000.0, 15, math.log(6.4) / 27
"""Slaney's scale: 15 even mels up to 1,000 Hz, then 27 for each factor of 6.4."""


@final
class LogMel(nn.Module):
    """Samples (B, T) in [-1, 1] to the logarithm of the energy in mel bands (B, mels, frames).

    Windowed Fourier transform, squared magnitude, triangular filters that are evenly spaced on the mel scale
    (O'Shaughnessy's formula, 2595 log10(1 + f / 700)), natural logarithm. Frame k is centred on sample k * hop.
    Each example is taken by itself, and a gradient reaches every sample.

    Args:
        sample_rate: Samples a second.
        mels: Number of bands, from 0 Hz to half the rate.
        window: Samples in a window (Hann), also the length of the transform; even.
        hop: Samples from one window to the next.
        floor: Energy that is added before the logarithm: silence stays finite, and so does its gradient.

    Raises:
        Refused: If an option is out of range, or a band holds no frequency of the transform.
    """

    filters: Tensor
    hann: Tensor

    def __init__(
        self, *, sample_rate: int, mels: int = 40, window: int = 256, hop: int = 80, floor: float = 1e-4
    ) -> None:
        super().__init__()
        if window < 2 or window % 2:
            raise refuse(f"model.window is {window}, must be an even number of samples", fix="model.window=256")
        check_least("model.mels", mels, 1, fix=40)
        if not 1 <= hop <= window:
            raise refuse(f"model.hop is {hop}, must be 1 to model.window={window}", fix=f"model.hop={window // 2}")
        if floor <= 0:
            raise refuse(f"model.floor is {floor:g}, must be more than 0", fix="model.floor=1e-4")
        filters = mel_filters(sample_rate=sample_rate, mels=mels, bins=window // 2 + 1)
        if not bool(filters.sum(dim=0).gt(0).all()):
            raise refuse(
                f"model.mels={mels} is too many for a window of {window} samples: some bands hold no frequency",
                fix=f"model.mels={max(1, mels // 2)}",
            )
        self.window, self.hop, self.floor = window, hop, floor
        # Made anew from the options, so they are no part of a checkpoint.
        self.register_buffer("filters", filters, persistent=False)
        self.register_buffer("hann", torch.hann_window(window), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        """(B, mels, 1 + T // hop)."""
        edge = self.window // 2
        padded = nn.functional.pad(samples, (edge, edge))
        # Frames as a view and a real transform: the same numbers as torch.stft, which pads and checks more slowly.
        frames = padded.unfold(1, self.window, self.hop) * self.hann
        energy = torch.view_as_real(rfft(frames)).square().sum(dim=-1)
        return (energy @ self.filters + self.floor).log().transpose(1, 2)


def mel_filters(*, sample_rate: int, mels: int, bins: int, scale: Scale = "htk") -> Tensor:
    """Triangles (bins, mels): each rises from its lower neighbour's centre and falls to its upper one's.

    Args:
        sample_rate: Samples a second.
        mels: Number of bands, from 0 Hz to half the rate.
        bins: Of the transform, from 0 Hz to half the rate.
        scale: `htk`: O'Shaughnessy's formula and height 1; `slaney`: even below 1,000 Hz, by logarithms above, and
            area 1 (Slaney 1998, Auditory Toolbox).
    """
    half = sample_rate / 2
    if scale == "htk":
        top = 2595 * math.log10(1 + half / 700)
        centres = 700 * (10 ** (torch.linspace(0, top, mels + 2, dtype=torch.float64) / 2595) - 1)
    else:
        top = LINEAR + math.log(half / KNEE) / STEP if half > KNEE else half * LINEAR / KNEE
        places = torch.linspace(0, top, mels + 2, dtype=torch.float64)
        centres = torch.where(places < LINEAR, places * KNEE / LINEAR, KNEE * torch.exp(STEP * (places - LINEAR)))
    frequencies = torch.linspace(0, half, bins, dtype=torch.float64)
    rising = (frequencies[:, None] - centres[:-2]) / (centres[1:-1] - centres[:-2])
    falling = (centres[2:] - frequencies[:, None]) / (centres[2:] - centres[1:-1])
    triangles = torch.minimum(rising, falling).clamp(min=0)
    if scale == "slaney":
        triangles = triangles * 2 / (centres[2:] - centres[:-2])
    return triangles.float()
