# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
"""The only place of the data modules that touches Pillow."""

import io
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
    require("PIL", extra="vision")
    from PIL import Image, ImageOps

    try:
        with _opened(source) as opened:
            upright = ImageOps.exif_transpose(opened)
            square = ImageOps.fit(_plain(upright, channels), (size, size), method=Image.Resampling.BILINEAR)
    # Pillow raises whatever comes to hand where a file is damaged.
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise refuse(f"{where} cannot be read as a picture: {reason}") from error
    pixels = torch.from_numpy(np.array(square, dtype=np.uint8))
    return pixels[None] if channels == 1 else pixels.permute(2, 0, 1)


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
