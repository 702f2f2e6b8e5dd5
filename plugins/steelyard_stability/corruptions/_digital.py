# pyright: reportUnknownMemberType=false
"""What storage and lenses do to images in [0, 1], as in ImageNet-C (Hendrycks and Dietterich 2019, appendix B)."""

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from steelyard_stability.corruptions._dice import Dice
from steelyard_stability.corruptions._resampling import between, gaussian_taps, smoothed
from steelyard_stability.corruptions._weather import colours

CONTRAST = (0.4, 0.3, 0.2, 0.1, 0.05)
ELASTIC = (12.5, 16.25, 21.25, 25.0, 30.0)
PIXELATE = (0.6, 0.5, 0.4, 0.3, 0.25)
QUALITY = (25, 18, 15, 10, 7)
Bytes = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


def contrast(images: Tensor, severity: int, dice: Dice) -> Tensor:
    """Every channel moves towards its mean."""
    del dice
    seen, rest = colours(images)
    # Image by image: the order of a sum over a whole batch depends on its size.
    means = torch.stack([image.double().mean(dim=(1, 2), keepdim=True) for image in seen]).to(seen)
    return torch.cat([(seen - means) * CONTRAST[severity - 1] + means, rest], dim=1)


def elastic_transform(images: Tensor, severity: int, dice: Dice) -> Tensor:
    """The picture is stretched and squeezed in small regions; these are at least a pixel wide."""
    height, width = images.shape[-2:]
    far = 0.005 * height
    steps = dice.uniform(2, height, width, low=-far, high=far)
    for dim, size in ((-2, height), (-1, width)):
        steps = smoothed(steps, gaussian_taps(max(1.0, 0.01 * size), reach=3), dim=dim, mirror=True)
    steps = (ELASTIC[severity - 1] * steps).to(images)
    rows = torch.arange(height).to(images)[:, None] + steps[:, 1]
    columns = torch.arange(width).to(images) + steps[:, 0]
    return between(images, rows, columns)


def pixelate(images: Tensor, severity: int, dice: Dice) -> Tensor:
    """Fewer, larger pixels."""
    del dice
    share = PIXELATE[severity - 1]
    rows, columns = (_coarse(size, share).to(images) for size in images.shape[-2:])
    return torch.stack([rows @ image @ columns.T for image in images])


def _coarse(size: int, share: float) -> Tensor:
    """Means over the pixels whose centres lie in each coarse one, spread out again: (size, size)."""
    few = max(1, int(size * share))
    ratio = size / few
    centres, edges = torch.arange(size).double() + 0.5, (torch.arange(few).double() + 0.5) * ratio
    inside = (centres - edges[:, None]) / ratio
    members = ((inside > -0.5) & (inside <= 0.5)).double()
    back = ((torch.arange(size).double() + 0.5) * (few / size)).long().clamp(max=few - 1)
    return (members / members.sum(dim=1, keepdim=True))[back]


def jpeg_compression(images: Tensor, severity: int, dice: Dice) -> Tensor:
    """Written as a JPEG file of low quality, and read again."""
    del dice
    seen, rest = colours(images)
    bytes_ = (seen.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    read = np.stack([_through_jpeg(image, QUALITY[severity - 1]) for image in bytes_])
    unit = torch.from_numpy(read.reshape(bytes_.shape)).permute(0, 3, 1, 2).contiguous().float() / 255
    return torch.cat([unit.to(seen), rest], dim=1)


def _through_jpeg(image: Bytes, quality: int) -> Bytes:
    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))
