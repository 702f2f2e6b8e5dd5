"""How far the spectrum of one sound is from another's: mel-cepstral distortion along the best alignment."""

import math
from typing import final

import torch
from torch import Tensor, nn

from steelyard.models.mel import LogMel


@final
class Cepstrum(nn.Module):
    """Sounds (B, T) to the mel cepstrum of every frame (B, frames, coefficients), without the one that is loudness.

    The cosine transform (type 2) of the logarithm of the amplitude in mel bands, scaled so that the amplitude in band m
    is the exponential of sum_d c_d cos(pi d (m + 1/2) / bands).

    Args:
        sample_rate: Samples a second.
        coefficients: From the first one on.
        bands: Of the mel spectrogram.
    """

    waves: Tensor

    def __init__(self, *, sample_rate: int, coefficients: int = 13, bands: int = 40) -> None:
        super().__init__()
        assert 0 < coefficients < bands
        self.mel = LogMel(sample_rate=sample_rate, mels=bands)
        middles, orders = torch.arange(bands) + 0.5, torch.arange(1, coefficients + 1)
        # Half, since the logarithm is of energies; two parts in `bands`, since that inverts the sum over the orders.
        waves = 0.5 * 2 / bands * torch.cos(math.pi * orders[None, :] * middles[:, None] / bands)
        self.register_buffer("waves", waves, persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        """(B, frames, coefficients)."""
        return self.mel(samples).transpose(1, 2) @ self.waves


def distances(one: Tensor, other: Tensor) -> Tensor:
    """Mel-cepstral distortion (P,), in dB, of P pairs of sounds, each along its own best alignment in time.

    10 / ln 10 * sqrt(2 sum_d (c_d - c'_d)^2) of two frames (Kubichek 1993), the mean over the steps of the cheapest
    monotonous path from both beginnings to both ends (dynamic time warping, Sakoe and Chiba 1978, without slope
    weights): speech may be faster or slower. With all coefficients it is the root mean square over the bands of the
    difference of two spectra in dB, each less its own mean.

    Args:
        one: (P, frames, coefficients).
        other: (P, frames, coefficients).
    """
    frames = 10 / math.log(10) * math.sqrt(2) * torch.cdist(one.double(), other.double())
    rows, columns = frames.shape[1:]
    total = frames.new_full((len(frames), rows + 1, columns + 1), math.inf)
    steps = torch.zeros_like(total)
    total[:, 0, 0] = 0
    for row in range(1, rows + 1):
        for column in range(1, columns + 1):
            # Straight on first: of two paths of the same cost the shorter one is taken.
            before = [(row - 1, column - 1), (row - 1, column), (row, column - 1)]
            cheapest, which = torch.stack([total[:, i, j] for i, j in before], dim=1).min(dim=1)
            walked = torch.stack([steps[:, i, j] for i, j in before], dim=1)
            total[:, row, column] = cheapest + frames[:, row - 1, column - 1]
            steps[:, row, column] = walked.gather(1, which[:, None])[:, 0] + 1
    return total[:, rows, columns] / steps[:, rows, columns]
