"""What happens to the frames of videos (B, frames, channels, height, width)."""

import torch
from torch import Tensor

from steelyard_stability.corruptions._dice import Dice

DROPPED = (0.1, 0.2, 0.3, 0.45, 0.6)
"""Share of the frames."""
APART = (1, 2, 3, 5, 8)
"""Frames between two that may change places."""


def frame_drop(videos: Tensor, severity: int, dice: Dice) -> Tensor:
    """Some frames are lost, at least one, and the last one that came stays on the screen; the first is never lost."""
    frames = videos.shape[1]
    if frames == 1:
        return videos
    count = min(frames - 1, max(1, round(DROPPED[severity - 1] * frames)))
    lost = torch.zeros(len(dice), frames, dtype=torch.long).scatter(1, dice.order(frames - 1)[:, :count] + 1, 1)
    shown = torch.where(lost == 1, 0, torch.arange(frames)).cummax(dim=1).values
    return _chosen(videos, shown)


def frame_order(videos: Tensor, severity: int, dice: Dice) -> Tensor:
    """Frames come in another order, each at most a few places from its own."""
    frames = videos.shape[1]
    # Sorting by a time that is late by less than `far` moves no frame further than that.
    late = dice.uniform(frames) * (APART[severity - 1] + 1)
    return _chosen(videos, (torch.arange(frames) + late).argsort(dim=1, stable=True))


def _chosen(videos: Tensor, frames: Tensor) -> Tensor:
    rows = torch.arange(len(videos), device=videos.device)[:, None]
    return videos[rows, frames.to(videos.device)]
