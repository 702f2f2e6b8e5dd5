"""Blur of images in [0, 1], as in ImageNet-C (Hendrycks and Dietterich 2019, appendix B).

The published lengths are for images of 224 pixels; they shrink with the shorter side.
"""

import torch
from torch import Tensor

from steelyard_stability.corruptions._dice import Dice
from steelyard_stability.corruptions._resampling import convolved, dragged, gaussian, gaussian_taps, smoothed, zooms

SIDE = 224
DEFOCUS = ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))
GLASS = ((0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2))
MOTION = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))
ZOOM = ((0.01, 12), (0.01, 16), (0.02, 11), (0.02, 13), (0.03, 11))


def scale_of(images: Tensor) -> float:
    """How long a pixel of ImageNet-C is here."""
    return min(images.shape[-2:]) / SIDE


def disc(radius: float, *, alias: float) -> Tensor:
    """A round kernel with sum 1 and soft edge; a broken radius counts the share of each pixel inside."""
    fine = 1 if float(radius).is_integer() else 9
    reach = int(radius) + 3
    places = torch.arange(-reach * fine - fine // 2, reach * fine + fine // 2 + 1, dtype=torch.float64) / fine
    inside = (places[:, None] ** 2 + places[None, :] ** 2 <= radius**2).double()
    side = 2 * reach + 1
    kernel = inside.reshape(side, fine, side, fine).mean(dim=(1, 3))
    taps = gaussian_taps(alias, reach=(1 if radius <= 8 else 2) / alias)
    whole = smoothed(smoothed(kernel[None, None] / kernel.sum(), taps, dim=-2), taps, dim=-1)
    return whole[0, 0]


def defocus_blur(images: Tensor, severity: int, dice: Dice) -> Tensor:
    """Out of focus: every point becomes a disc."""
    del dice
    radius, alias = DEFOCUS[severity - 1]
    return convolved(images, disc(radius * scale_of(images), alias=alias))


def glass_blur(images: Tensor, severity: int, dice: Dice) -> Tensor:
    """Seen through frosted glass: neighbouring pixels change places between two blurs.

    ImageNet-C goes through the pixels one after the other. Pixels too far apart to meet trade places at once here,
    which has the same law up to the order. A distance below one pixel becomes the share of the pixels that move by one.
    """
    sigma, far, rounds = GLASS[severity - 1]
    scale = scale_of(images)
    reach, share = max(1, round(far * scale)), min(1.0, far * scale)
    mixed = gaussian(images, sigma * scale)
    height, width = images.shape[-2:]
    # Places are traded, and the pixels follow once.
    places = torch.arange(height * width, device=images.device).repeat(len(images), 1, 1)
    rows, columns = torch.arange(height)[:, None].expand(height, width), torch.arange(width).expand(height, width)
    for _ in range(rounds):
        steps = dice.whole(2, height, width, low=-reach, high=reach)
        steps = steps * (dice.uniform(1, height, width) < share)
        partners = (rows + steps[:, 0]).clamp(0, height - 1) * width + (columns + steps[:, 1]).clamp(0, width - 1)
        _trade(places, partners.to(images.device), apart=2 * reach + 1)
    flat = mixed.flatten(start_dim=2)
    traded = flat.gather(2, places.expand(flat.shape))
    return gaussian(traded.reshape(images.shape), sigma * scale)


def _trade(flat: Tensor, partners: Tensor, *, apart: int) -> None:
    """Swaps each place of (B, C, H W) with its partner (B, H, W), in place, those at once that cannot meet."""
    count, height, width = partners.shape
    channels = flat.shape[1]
    own = torch.arange(height * width, device=flat.device).reshape(height, width)
    for down in range(min(apart, height)):
        for along in range(min(apart, width)):
            here = own[down::apart, along::apart].flatten()
            there = partners[:, down::apart, along::apart].reshape(count, 1, -1).expand(-1, channels, -1)
            kept, brought = flat[:, :, here], flat.gather(2, there)
            flat[:, :, here] = brought
            flat.scatter_(2, there, kept)


def motion_blur(images: Tensor, severity: int, dice: Dice) -> Tensor:
    """The camera moved, in a direction within 45 degrees of the horizontal."""
    radius, sigma = MOTION[severity - 1]
    scale = scale_of(images)
    angles = dice.uniform(low=-45, high=45)
    return dragged(images, angles, radius=max(1, round(radius * scale)), sigma=sigma * scale)


def zoom_blur(images: Tensor, severity: int, dice: Dice) -> Tensor:
    """The camera moved towards the scene."""
    del dice
    step, count = ZOOM[severity - 1]
    return (images + zooms(images, [1 + turn * step for turn in range(count)]) * count) / (count + 1)
