"""The buffers into which MKL packs the factors of a product, and keeps for the next one.

A product takes a buffer that is large enough, else a new one, and the smaller ones stay as they are: of more than five
one goes for each that comes, the first and then always the one before. Sizes come out to the byte as they stood in a
log of the requests of some 80 products on their own (torch 2.13.0, registers of 512 bits, one thread), and what is
written to, to 28 KiB, as it was seen in the resident memory.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from steelyard.estimating._onednn import Written
from steelyard.estimating._programs import Call, Program

OWN = 672 + 16 * 1024
"""Bytes of a buffer beside the factors."""
ROWS, COLUMNS = 384, 6_400
"""Of the factors, that are packed at once."""
LEAST_ROWS, LEAST_COLUMNS = 4, 12
"""Smaller products go without."""
DEEP, DEEPEST = 128, 192
"""Of what is summed over, that is packed at once."""
KEPT = 5
"""Buffers at most."""
_PACKED = Program(requests=(), code=0)


def products(func: Any, args: Any) -> Sequence[Call]:
    """The call of a product in float32, known by its rows, by what it sums over, and by its columns."""
    name = getattr(getattr(func, "overloadpacket", None), "__name__", "")
    if name not in ("mm", "addmm", "bmm", "baddbmm") or not torch.backends.mkl.is_available():
        return ()
    left, right = args[-2:]
    if not isinstance(left, Tensor) or right.dtype is not torch.float32 or not prod(left.shape):
        return ()
    return [Call("product", (left.shape[-2], left.shape[-1], right.shape[-1]), _PACKED)]


def buffer(rows: int, deep: int, columns: int) -> Written | None:
    """What a product (rows, deep) x (deep, columns) is packed into; None where it is too small."""
    if rows < LEAST_ROWS or columns < LEAST_COLUMNS:
        return None
    rows, columns = min(rows, ROWS), min(-(-columns // 16) * 16, COLUMNS)
    each = deep if deep <= DEEPEST else min(deep // 2, DEEPEST)
    room = max(DEEP, each) if deep <= DEEPEST else each
    return Written(OWN + 4 * room * (columns + 2 * rows), 4 * each * (columns + rows))


class Buffers:
    """Those of a thread, none at first."""

    def __init__(self) -> None:
        self._largest = 0
        self._count = 0
        self._goes = Written(0, 0)

    def new(self, keys: Iterable[Any]) -> Mapping[Any, Written]:
        """Those that are made for calls of `products`, known by their keys, in order.

        Of one that comes for another only what it is larger by.
        """
        found = dict[Any, Written]()
        for key in keys:
            # Of a number that grows with nothing known nobody can tell how large it is.
            one = buffer(*key[1]) if all(isinstance(number, int) for number in key[1]) else None
            if one is not None and one.of > self._largest:
                self._largest = one.of
                found[key] = self._added(one)
        return found

    def _added(self, one: Written) -> Written:
        self._count += 1
        gone = self._goes if self._count > KEPT else Written(0, 0)
        if self._count == 1 or self._count > KEPT:
            self._goes = one
        return Written(one.of - gone.of, max(0, one.bytes - gone.bytes))
