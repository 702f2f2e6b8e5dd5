# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Pixels from elsewhere: blurs, zooms and shifts of batches of images.

A sum is taken tap by tap and element by element, so that the bytes of an image do not depend on its neighbours in the
batch; a library's convolution chooses another order of summation for another size of batch. All take float images
(B, C, H, W).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import conv2d

MANY = 64
"""More taps than this are left to the library, image by image."""
PIECE = 1 << 17
"""Values that a processor keeps near while many sums pass over them."""


def in_pieces(act: Callable[..., Tensor], *parts: Tensor) -> Tensor:
    """What `act` makes of tensors (B, ...), a few examples at a time; for sums that treat each of them alone."""
    rows = max(1, PIECE // max(1, parts[0][0].numel()))
    if rows >= len(parts[0]):
        return act(*parts)
    return torch.cat([act(*piece) for piece in zip(*(part.split(rows) for part in parts), strict=True)])


def mirrored(places: Tensor, size: int) -> Tensor:
    """Places outside 0 .. size - 1 are mirrored at the centre of the border pixel, as often as needed."""
    if size == 1:
        return torch.zeros_like(places)
    period = 2 * (size - 1)
    folded = places.remainder(period)
    return torch.where(folded < size, folded, period - folded)


def gaussian_taps(sigma: float, *, reach: float = 4.0) -> list[float]:
    """Weights of a Gaussian from its centre out, on both sides, with sum 1: 2 r + 1 of them."""
    radius = max(1, int(reach * sigma + 0.5))
    places = torch.arange(-radius, radius + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (places / max(sigma, 1e-6)) ** 2)
    return [float(weight) for weight in weights / weights.sum()]


def smoothed(images: Tensor, taps: Sequence[float], *, dim: int, mirror: bool = False) -> Tensor:
    """The weighted mean of neighbours along one dimension; the border goes on outside, or is mirrored there."""
    size, radius = images.shape[dim], len(taps) // 2
    places = torch.arange(-radius, size + radius, device=images.device)
    sources = mirrored(places, size) if mirror else places.clamp(0, size - 1)
    passing = [(place, weight) for place, weight in enumerate(taps) if weight >= 1e-9]

    def summed(some: Tensor) -> Tensor:
        wide, out = some.index_select(dim, sources), torch.zeros_like(some)
        for place, weight in passing:
            out += wide.narrow(dim, place, size) * weight
        return out

    return in_pieces(summed, images)


def gaussian(images: Tensor, sigma: float) -> Tensor:
    """Gaussian blur; the border goes on outside."""
    taps = gaussian_taps(sigma)
    return smoothed(smoothed(images, taps, dim=-2), taps, dim=-1)


def convolved(images: Tensor, kernel: Tensor) -> Tensor:
    """Every channel under a kernel (K, L) of odd sides, mirrored at the border."""
    up, left = kernel.shape[0] // 2, kernel.shape[1] // 2
    height, width = images.shape[-2:]
    rows = mirrored(torch.arange(-up, height + up, device=images.device), height)
    columns = mirrored(torch.arange(-left, width + left, device=images.device), width)
    wide = images.index_select(-2, rows).index_select(-1, columns)
    taps = [(row, column) for row, column in kernel.nonzero().tolist() if float(kernel[row, column]) > 1e-9]
    if len(taps) > MANY:
        filters = kernel.to(images)[None, None]
        return torch.stack([conv2d(image[:, None], filters)[:, 0] for image in wide])
    weights = [float(kernel[row, column]) for row, column in taps]

    def summed(some: Tensor) -> Tensor:
        out = torch.zeros_like(some[..., :height, :width])
        for (row, column), weight in zip(taps, weights, strict=True):
            out += some[..., row : row + height, column : column + width] * weight
        return out

    return in_pieces(summed, wide)


def picked(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The pixels at whole places (B, H, W), pushed back inside."""
    height, width = images.shape[-2:]
    places = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
    flat = places.flatten(start_dim=1)[:, None].expand(-1, images.shape[1], -1)
    return images.flatten(start_dim=2).gather(2, flat).reshape(*images.shape[:2], *places.shape[1:])


def between(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Bilinear pixels at broken places (B, H, W), mirrored outside."""
    return in_pieces(_between, images, rows, columns)


def _between(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    height, width = images.shape[-2:]
    top, left = rows.floor(), columns.floor()
    down, right = (rows - top)[:, None], (columns - left)[:, None]
    above, below = (mirrored((top + step).long(), height) for step in (0, 1))
    west, east = (mirrored((left + step).long(), width) for step in (0, 1))
    upper = picked(images, above, west) * (1 - right) + picked(images, above, east) * right
    lower = picked(images, below, west) * (1 - right) + picked(images, below, east) * right
    return upper * (1 - down) + lower * down


def zoomed(images: Tensor, factor: float) -> Tensor:
    """The middle of the images, `factor` times as large: bilinear, as `scipy.ndimage.zoom` places it."""
    return zooms(images, [factor])


def zooms(images: Tensor, factors: Sequence[float]) -> Tensor:
    """The mean of several zooms into the middle, image by image."""
    height, width = images.shape[-2:]
    rows = torch.stack([_stretch(height, factor) for factor in factors]).to(images)
    columns = torch.stack([_stretch(width, factor).T for factor in factors]).to(images)
    # (Z, C, H, H) x (C, H, W) x (Z, C, W, W)
    rows, columns = (one[:, None].repeat(1, images.shape[1], 1, 1) for one in (rows, columns))
    return torch.stack([((rows @ image) @ columns).mean(dim=0) for image in images])


def _stretch(size: int, factor: float) -> Tensor:
    """What each pixel of the zoom takes from each pixel: (size, size)."""
    part = -int(-size / factor // 1)
    first, whole = (size - part) // 2, max(round(part * factor), size)
    steps = torch.arange(size, dtype=torch.float64) * ((part - 1) / max(whole - 1, 1))
    low = steps.floor().clamp(max=part - 1)
    weights = torch.zeros(size, size, dtype=torch.float64)
    for step, share in ((0, 1 - (steps - low)), (1, steps - low)):
        weights.scatter_add_(1, first + (low + step).clamp(max=part - 1).long()[:, None], share[:, None])
    return weights


def dragged(images: Tensor, angles: Tensor, *, radius: int, sigma: float) -> Tensor:
    """Motion blur: each image fades out along its own direction.

    Args:
        images: (B, C, H, W).
        angles: Directions (B,), in degrees, anticlockwise from "to the right".
        radius: Half of the longest way, in pixels.
        sigma: How fast it fades, in pixels.
    """
    height, width = images.shape[-2:]
    steps = torch.arange(2 * radius + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (steps / max(sigma, 1e-6)) ** 2)
    weights = weights / weights.sum()
    passing = [pair for pair in zip(steps.tolist(), weights.tolist(), strict=True) if pair[1] >= 1e-9]
    rows, columns = torch.arange(height)[None, :, None], torch.arange(width)[None, None, :]

    def summed(some: Tensor, turns: Tensor) -> Tensor:
        out = torch.zeros_like(some)
        for step, weight in passing:
            down, right = ((step * way - 0.5).ceil().long()[:, None, None] for way in (turns.sin(), turns.cos()))
            there = torch.broadcast_tensors(rows + down, columns + right)
            out += picked(some, there[0].to(some.device), there[1].to(some.device)) * weight
        return out

    return in_pieces(summed, images, torch.deg2rad(angles.double()))


def per_image(images: Tensor, value: Tensor) -> Tensor:
    """(B,) numbers, shaped to be multiplied with images."""
    return value.reshape(-1, *[1] * (images.dim() - 1)).to(images)
