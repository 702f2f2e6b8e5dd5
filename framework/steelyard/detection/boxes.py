"""Boxes as (centre x, centre y, width, height), in parts of the picture, along the last dimension."""

import torch
from torch import Tensor

from steelyard.ignored import IGNORED

ROW = 5
"""Numbers of an object in a target: its class, then its box; a row of IGNORED is no object."""


def there(targets: Tensor) -> Tensor:
    """Which rows (..., 5) hold an object: booleans (...)."""
    return targets[..., 0] != IGNORED


def corners(boxes: Tensor) -> Tensor:
    """Boxes (..., 4) as (left, top, right, bottom)."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def overlap(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union of boxes whose leading dimensions broadcast: (..., 4) and (..., 4) give (...)."""
    common, union, _ = _areas(one, other)
    return common / union


def generous_overlap(one: Tensor, other: Tensor) -> Tensor:
    """Generalised IoU (Rezatofighi et al. 2019): from -1 for boxes far apart to 1 for the same box."""
    common, union, hull = _areas(one, other)
    return common / union - (hull - union) / hull


def _areas(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of the intersection, of the union, and of the smallest box round both."""
    first, second = corners(one), corners(other)
    common = _area(torch.maximum(first[..., :2], second[..., :2]), torch.minimum(first[..., 2:], second[..., 2:]))
    hull = _area(torch.minimum(first[..., :2], second[..., :2]), torch.maximum(first[..., 2:], second[..., 2:]))
    union = one[..., 2:].prod(dim=-1) + other[..., 2:].prod(dim=-1) - common
    # A box without area overlaps with nothing.
    least = torch.finfo(union.dtype).tiny
    return common, union.clamp(min=least), hull.clamp(min=least)


def _area(low: Tensor, high: Tensor) -> Tensor:
    return (high - low).clamp(min=0).prod(dim=-1)
