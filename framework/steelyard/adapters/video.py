"""Videos."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from steelyard.adapters import _drawing
from steelyard.adapters.adapter import PairAdapter

BLOCKS = 8
"""Blocks along the longer side of a frame, at most."""
KEY_FRAMES = _drawing.ACROSS
"""Frames of each video that are drawn."""


@final
@dataclass(frozen=True, kw_only=True)
class VideoAdapter(PairAdapter):
    """Pixels (B, frames, channels, height, width); a square block of one frame is one unit of attribution.

    The block says where and when. A pixel over all frames would say where alone, and a single pixel of a single frame
    means nothing by itself: videos repeat from pixel to pixel, so taking a few away changes little.
    """

    modality: ClassVar[str] = "video"
    unit: ClassVar[str] = "pixel value"

    def features(self, inputs: Tensor) -> Tensor:
        """The number of the block, frame by frame and row by row: shape (frames, channels, height, width)."""
        frames, channels, height, width = inputs.shape[1:]
        block = _block(height, width).to(inputs.device)
        first = torch.arange(frames, device=inputs.device) * (int(block.max()) + 1)
        return (first[:, None, None] + block)[:, None].expand(frames, channels, height, width)

    def draw(
        self, batch: Any, attributions: Tensor, *, titles: Sequence[str], decisions: Tensor | None = None
    ) -> bytes:
        """The frames of each video that count most, in order, each above the attribution of its blocks."""
        del decisions
        videos = self.field(batch, 0).detach().cpu().double()
        blocks = by_block(attributions.detach().cpu().double().sum(dim=2))
        keys = key_frames(blocks, count=min(KEY_FRAMES, videos.shape[1]))
        captions = [
            f"{title if place == 0 else ''}\nframe {int(frame) + 1}".strip()
            for title, row in zip(titles, keys, strict=True)
            for place, frame in enumerate(row)
        ]
        chosen = torch.arange(len(videos))[:, None]
        return _drawing.images(
            videos[chosen, keys].flatten(end_dim=1),
            blocks[chosen, keys].flatten(end_dim=1),
            titles=captions,
            bounds=self.bounds,
            across=keys.shape[1],
        )


def key_frames(attributions: Tensor, *, count: int) -> Tensor:
    """The frames with the largest total of absolute attributions, in order of time; the first ones where all are equal.

    Args:
        attributions: (N, frames, height, width).
        count: How many.

    Returns:
        Frame numbers (N, count).
    """
    total = attributions.abs().nan_to_num(nan=0.0, posinf=0.0).sum(dim=(2, 3))
    return total.argsort(dim=1, descending=True, stable=True)[:, :count].sort(dim=1).values


def by_block(attributions: Tensor) -> Tensor:
    """Every pixel of (N, frames, height, width) gets the sum over its block."""
    block = _block(*attributions.shape[-2:]).flatten()
    flat = attributions.flatten(start_dim=2)
    sums = flat.new_zeros(*flat.shape[:2], int(block.max()) + 1).index_add(2, block, flat)
    return sums[:, :, block].reshape(attributions.shape)


def _block(height: int, width: int) -> Tensor:
    """The number of each pixel's block in its frame (height, width), row by row."""
    side = -(-max(height, width) // BLOCKS)
    down, along = (torch.arange(length) // side for length in (height, width))
    return down[:, None] * -(-width // side) + along
