"""Images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from steelyard.adapters import _drawing
from steelyard.adapters.adapter import PairAdapter


def pixels(inputs: Tensor) -> Tensor:
    """The number of each pixel of images (B, channels, height, width), row by row: (channels, height, width)."""
    channels, height, width = inputs.shape[1:]
    numbers = torch.arange(height * width, device=inputs.device)
    return numbers.reshape(1, height, width).expand(channels, height, width)


@final
@dataclass(frozen=True, kw_only=True)
class ImageAdapter(PairAdapter):
    """Pixels (B, channels, height, width); a pixel is one unit of attribution across its channels."""

    modality: ClassVar[str] = "image"
    unit: ClassVar[str] = "pixel value"

    def features(self, inputs: Tensor) -> Tensor:
        """The number of the pixel, row by row: shape (channels, height, width)."""
        return pixels(inputs)

    def draw(
        self, batch: Any, attributions: Tensor, *, titles: Sequence[str], decisions: Tensor | None = None
    ) -> bytes:
        """Each image above its attribution, summed over the channels."""
        del decisions
        return _drawing.images(
            self.field(batch, 0).detach().cpu().double(),
            attributions.detach().cpu().double().sum(dim=1),
            titles=titles,
            bounds=self.bounds,
        )

    def compare(
        self, batch: Any, attributions: Sequence[Tensor], *, names: Sequence[str], titles: Sequence[str]
    ) -> bytes:
        """Each image with several attributions next to it, summed over the channels."""
        return _drawing.maps(
            self.field(batch, 0).detach().cpu().double(),
            [values.detach().cpu().double().sum(dim=1) for values in attributions],
            names=names,
            titles=titles,
            bounds=self.bounds,
        )
