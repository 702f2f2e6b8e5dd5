"""Spectrograms as other voices would have them, and with holes: only while learning."""

from typing import final

import torch
from torch import Tensor, nn

from steelyard.problem import refuse

WIDEST = 0.2
"""Widest mask, as a part of all bands or frames."""


@final
class Disguise(nn.Module):
    """Shifts the bands of each spectrogram up or down, as a shorter or longer vocal tract does, and hides some.

    After Jaitly and Hinton (2013) and SpecAugment (Park et al. 2019). Each example draws for itself, in training alone.

    Args:
        shift: Most bands up or down; 0 for none.
        masks: Stripes of bands, and as many of frames, that are set to 0, the mean of a levelled spectrogram.

    Raises:
        Refused: If a number is below 0.
    """

    def __init__(self, *, shift: int, masks: int) -> None:
        super().__init__()
        if min(shift, masks) < 0:
            raise refuse(
                f"model.shift={shift} and model.masks={masks} must be at least 0", fix="model.shift=0 model.masks=0"
            )
        self.shift, self.masks = shift, masks

    def forward(self, mels: Tensor) -> Tensor:
        """(B, mels, frames)."""
        if not self.training:
            return mels
        if self.shift:
            mels = _shifted(mels, most=self.shift)
        for _ in range(self.masks):
            mels = _masked(_masked(mels, dim=1), dim=2)
        return mels


def _shifted(mels: Tensor, *, most: int) -> Tensor:
    """The band at an edge is drawn out."""
    by = torch.randint(-most, most + 1, (len(mels), 1, 1), device=mels.device)
    bands = torch.arange(mels.shape[1], device=mels.device)[None, :, None]
    return mels.gather(1, (bands - by).clamp(0, mels.shape[1] - 1).expand_as(mels))


def _masked(mels: Tensor, *, dim: int) -> Tensor:
    size = mels.shape[dim]
    width = WIDEST * size * torch.rand(len(mels), 1, device=mels.device)
    start = (size - width) * torch.rand(len(mels), 1, device=mels.device)
    places = torch.arange(size, device=mels.device)
    hidden = (places >= start) & (places < start + width)
    return mels.masked_fill(hidden[:, :, None] if dim == 1 else hidden[:, None, :], 0.0)
