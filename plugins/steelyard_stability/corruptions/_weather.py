# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Weather on images in [0, 1], as in ImageNet-C (Hendrycks and Dietterich 2019, appendix B).

Colours are the first three channels, or the only one; what else there is, e.g. alpha, is left alone.
"""

import torch
from torch import Tensor

from steelyard_stability.corruptions._blurs import scale_of
from steelyard_stability.corruptions._dice import Dice
from steelyard_stability.corruptions._plasma import plasma
from steelyard_stability.corruptions._resampling import dragged, zoomed

SNOW = (
    (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
    (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
    (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
    (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
    (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
)
FROST = ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))
FOG = ((1.5, 2), (2.0, 2), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4))
BRIGHTNESS = (0.1, 0.2, 0.3, 0.4, 0.5)
LUMA = (0.299, 0.587, 0.114)
"""Of red, green and blue (ITU-R BT.601)."""
ICE = (0.52, 0.58, 0.62)
"""How red, green and blue thick ice is."""


def colours(images: Tensor) -> tuple[Tensor, Tensor]:
    """The colour channels (B, 1 or 3, H, W), and the rest."""
    count = 3 if images.shape[1] >= 3 else 1
    return images[:, :count], images[:, count:]


def snow(images: Tensor, severity: int, dice: Dice) -> Tensor:
    """Flakes, driven by the wind, over a paler picture."""
    middle, spread, size, least, radius, sigma, kept = SNOW[severity - 1]
    scale = scale_of(images)
    seen, rest = colours(images)
    flakes = zoomed(middle + spread * dice.normal(1, *images.shape[-2:]), max(1.0, size * scale))
    flakes = torch.where(flakes < least, torch.zeros_like(flakes), flakes).clamp(0, 1)
    angles = dice.uniform(low=-135, high=-45)
    flakes = dragged(flakes, angles, radius=max(1, round(radius * scale)), sigma=sigma * scale).to(seen)
    grey = seen
    if seen.shape[1] == 3:
        red, green, blue = seen.split(1, dim=1)
        grey = red * LUMA[0] + green * LUMA[1] + blue * LUMA[2]
    pale = kept * seen + (1 - kept) * torch.maximum(seen, grey * 1.5 + 0.5)
    return torch.cat([pale + flakes + flakes.flip(-1, -2), rest], dim=1)


def frost(images: Tensor, severity: int, dice: Dice) -> Tensor:
    """Ice on the lens. ImageNet-C lays photographs of it over the picture; here it grows where two clouds meet."""
    kept, laid = FROST[severity - 1]
    seen, rest = colours(images)
    one, other = (plasma(dice, height=images.shape[-2], width=images.shape[-1], decay=1.8) for _ in range(2))
    ice = (1.6 - 3 * (one - other).abs()).clamp(0.35, 1.6).to(seen)
    tint = torch.tensor(ICE if seen.shape[1] == 3 else (sum(ICE) / 3,)).to(seen)[:, None, None]
    return torch.cat([kept * seen + laid * (ice * tint).clamp(max=1), rest], dim=1)


def fog(images: Tensor, severity: int, dice: Dice) -> Tensor:
    """Clouds between the camera and the scene."""
    thick, decay = FOG[severity - 1]
    seen, rest = colours(images)
    clouds = thick * plasma(dice, height=images.shape[-2], width=images.shape[-1], decay=decay).to(seen)
    lightest = seen.amax(dim=(1, 2, 3), keepdim=True)
    return torch.cat([(seen + clouds) * (lightest / (lightest + thick)), rest], dim=1)


def brightness(images: Tensor, severity: int, dice: Dice) -> Tensor:
    """More light: the value of hue, saturation and value is raised."""
    del dice
    seen, rest = colours(images)
    value = seen.amax(dim=1, keepdim=True)
    raised = (value + BRIGHTNESS[severity - 1]).clamp(max=1)
    # Black has no hue, so it becomes grey.
    lit = torch.where(value > 0, seen * (raised / value.clamp(min=1e-12)), raised)
    return torch.cat([lit, rest], dim=1)
