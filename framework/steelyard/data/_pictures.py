# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
"""The only place of the data modules that touches Pillow."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from steelyard.extras import require
from steelyard.problem import refuse

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
"""What counts as a picture in a folder."""
DEEP = ("I;16", "I;16B", "I;16L", "I;16N")
"""How Pillow calls 16 bits of grey."""


def read_picture(source: Any, *, size: int, channels: int, where: str) -> Tensor:
    """One picture as bytes (channels, size, size): the largest square of its middle, scaled; what is clear is white.

    Args:
        source: A path, the bytes of a file, a Pillow image, or an array (height, width[, channels]) of bytes.
        size: Height and width.
        channels: 1 for grey, 3 for red, green and blue.
        where: The file, or the data set and row, for messages.

    Raises:
        Refused: If it is damaged, or no picture.
    """
    upright = _read(source, channels=channels, where=where)
    from PIL import Image, ImageOps

    return _pixels(ImageOps.fit(upright, (size, size), method=Image.Resampling.BILINEAR))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretched:
    """A whole picture, brought to a square whatever its sides are.

    Attributes:
        pixels: Bytes (3, size, size), red, green and blue.
        width: Before, as people see it.
        height: Before.
    """

    pixels: Tensor
    width: int
    height: int


def read_stretched(source: Any, *, size: int, where: str) -> Stretched:
    """One whole picture, so that places in it keep their meaning in parts of its sides; see `read_picture`."""
    upright = _read(source, channels=3, where=where)
    from PIL import Image

    square = upright.resize((size, size), Image.Resampling.BILINEAR)
    return Stretched(pixels=_pixels(square), width=upright.width, height=upright.height)


def _read(source: Any, *, channels: int, where: str) -> Any:
    """A Pillow image, turned as people see it."""
    require("PIL", extra="vision")
    from PIL import ImageOps

    try:
        with _opened(source) as opened:
            return _plain(ImageOps.exif_transpose(opened), channels)
    # Pillow raises whatever comes to hand where a file is damaged.
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise refuse(f"{where} cannot be read as a picture: {reason}") from error


def _pixels(image: Any) -> Tensor:
    pixels = torch.from_numpy(np.array(image, dtype=np.uint8))
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)


def _opened(source: Any) -> Any:
    from PIL import Image

    if isinstance(source, Image.Image):
        return source.copy()
    if isinstance(source, bytes):
        return Image.open(io.BytesIO(source))
    if isinstance(source, Path | str):
        return Image.open(source)
    array = np.asarray(source)
    if array.ndim not in (2, 3) or not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"it is {_named(source)}, must be a file, its bytes, or an array of whole numbers")
    if array.min() < 0 or array.max() > 255:
        raise ValueError(f"it holds numbers from {array.min()} to {array.max()}, must be from 0 to 255")
    return Image.fromarray(array.astype(np.uint8))


def _named(source: Any) -> str:
    words = repr(source)
    return words if len(words) <= 40 else f"a {type(source).__name__}"


def _plain(image: Any, channels: int) -> Any:
    """Grey, or red, green and blue, of 8 bits."""
    from PIL import Image

    if image.mode in DEEP:
        image = Image.fromarray((np.asarray(image).astype(np.uint32) // 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"its pixels are of the kind {image.mode}, whose range nobody knows")
    if image.has_transparency_data:
        clear = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear)
    return image.convert("L" if channels == 1 else "RGB")
