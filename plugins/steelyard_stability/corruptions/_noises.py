"""Noise on images in [0, 1], as in ImageNet-C (Hendrycks and Dietterich 2019, appendix B)."""

import torch
from torch import Tensor

from steelyard_stability.corruptions._dice import Dice

GAUSSIAN = (0.08, 0.12, 0.18, 0.26, 0.38)
PHOTONS = (60, 25, 12, 5, 3)
IMPULSES = (0.03, 0.06, 0.09, 0.17, 0.27)


def gaussian_noise(images: Tensor, severity: int, dice: Dice) -> Tensor:
    """Normal noise on every channel of every pixel: what a sensor adds in the dark."""
    return images + GAUSSIAN[severity - 1] * dice.normal(*images.shape[1:]).to(images)


def shot_noise(images: Tensor, severity: int, dice: Dice) -> Tensor:
    """Poisson noise: light comes in grains."""
    grains = PHOTONS[severity - 1]
    return dice.poisson(images.clamp(min=0) * grains).to(images) / grains


def impulse_noise(images: Tensor, severity: int, dice: Dice) -> Tensor:
    """Salt and pepper: some values are lost to black or white."""
    hit = dice.uniform(*images.shape[1:]).to(images)
    share = IMPULSES[severity - 1]
    salted = torch.where(hit < share, torch.ones_like(images), images)
    return torch.where(hit < share / 2, torch.zeros_like(images), salted)
