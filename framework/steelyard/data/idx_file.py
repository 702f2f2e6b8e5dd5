"""The IDX format of MNIST and its relatives: a four-byte magic number, the sizes, then the numbers."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import torch
from torch import Tensor

from steelyard.problem import refuse

UNSIGNED_BYTE = 0x08
"""The only type of number that images and labels come in."""


def read_idx(path: Path, *, dimensions: int) -> Tensor:
    """Reads one file, plain or compressed by gzip (told by its first bytes, not by its name).

    Args:
        path: The file.
        dimensions: 3 for images, 1 for labels.

    Returns:
        uint8, shaped as the header says.

    Raises:
        Refused: If the file cannot be read, is none of this format, or is longer or shorter than its header says.
    """
    content = _content(path)
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise refuse(
            f"{path} has {len(content)} bytes: too few for an IDX header; it was cut off", fix="data.root=FOLDER"
        )
    zero, kind, found = struct.unpack(">HBB", content[:4])
    if zero != 0:
        raise refuse(f"{path} is no IDX file: it begins with {content[:4].hex(' ')}", fix="data.root=FOLDER")
    if kind != UNSIGNED_BYTE:
        raise refuse(f"{path} holds IDX type 0x{kind:02x}; only unsigned bytes (0x08) are read", fix="data.root=FOLDER")
    if found != dimensions:
        raise refuse(f"{path} has {found} dimensions, expected {dimensions}", fix="data.root=FOLDER")
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    promised, there = math.prod(shape), len(content) - start
    if there != promised:
        fault = "it was cut off" if there < promised else "something follows them"
        raise refuse(f"{path} promises {promised} values and has {there}: {fault}", fix="data.root=FOLDER")
    if promised == 0:
        raise refuse(f"{path} is empty: its header says {shape}", fix="data.root=FOLDER")
    return torch.frombuffer(content, dtype=torch.uint8, offset=start).reshape(shape)


def write_idx(path: Path, values: Tensor) -> None:
    """Writes uint8 values as an IDX file; compressed by gzip if the name ends in ".gz"."""
    assert values.dtype == torch.uint8
    header = struct.pack(f">HBB{values.dim()}I", 0, UNSIGNED_BYTE, values.dim(), *values.shape)
    content = header + values.contiguous().numpy().tobytes()
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def _content(path: Path) -> bytearray:
    try:
        stored = path.read_bytes()
        # A bytearray, since torch warns of tensors over memory that cannot be written.
        return bytearray(gzip.decompress(stored) if stored[:2] == b"\x1f\x8b" else stored)
    except (OSError, EOFError, zlib.error) as error:
        raise refuse(f"{path} cannot be read: {error}", fix="data.root=FOLDER") from error
