"""Clouds by the diamond-square algorithm (Fournier, Fussell and Carpenter 1982)."""

import torch
from torch import Tensor

from steelyard_stability.corruptions._dice import Dice


def plasma(dice: Dice, *, height: int, width: int, decay: float) -> Tensor:
    """A rough landscape between 0 and 1 for each example: (B, 1, height, width).

    Args:
        dice: Where the numbers come from.
        height: Rows.
        width: Columns.
        decay: The roughness falls by this factor from one scale to the next finer one.
    """
    size = 1 << max(1, (max(height, width) - 1).bit_length())
    land = torch.zeros(len(dice), size, size)
    step, rough = size, 100.0
    while step >= 2:
        half = step // 2
        corners = land[:, ::step, ::step]
        count = corners.shape[1]

        def shaken(total: Tensor, count: int = count, rough: float = rough) -> Tensor:
            return total / 4 + rough * dice.uniform(count, count, low=-rough, high=rough)

        south = corners + corners.roll(-1, dims=1)
        middles = shaken(south + south.roll(-1, dims=2))
        land[:, half::step, half::step] = middles
        east = (middles + middles.roll(1, dims=1)) + (corners + corners.roll(-1, dims=2))
        land[:, ::step, half::step] = shaken(east)
        down = (middles + middles.roll(1, dims=2)) + (corners + corners.roll(-1, dims=1))
        land[:, half::step, ::step] = shaken(down)
        step, rough = half, rough / decay
    land = land - land.amin(dim=(1, 2), keepdim=True)
    highest = land.amax(dim=(1, 2), keepdim=True).clamp(min=1e-12)
    return (land / highest)[:, None, :height, :width]
