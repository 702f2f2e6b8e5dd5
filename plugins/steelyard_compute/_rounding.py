# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Weights in few bits: pure functions, each with the way back."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

LEVELS_4 = 15
LEVELS_8 = 127


@dataclass(frozen=True, slots=True)
class Int8:
    """A matrix in 8 bits, symmetric, one scale for each row (Jacob et al. 2018).

    Attributes:
        levels: int8 (R, ...), from -127 to 127.
        scales: (R, 1, ...), in the format of the weights.
    """

    levels: Tensor
    scales: Tensor

    @property
    def bytes(self) -> int:
        """What it takes."""
        return _bytes(self.levels, self.scales)

    def values(self) -> Tensor:
        """The rounded weights, each at most half a scale away."""
        return self.levels.to(self.scales.dtype) * self.scales

    def rows(self, numbers: Tensor) -> Tensor:
        """The rounded rows with these numbers, any shape -> that shape and the rest of a row."""
        return self.levels[numbers].to(self.scales.dtype) * self.scales[numbers]


@dataclass(frozen=True, slots=True)
class Int4:
    """Weights in 4 bits, asymmetric, a scale and an offset for each group of a row.

    Attributes:
        pairs: uint8 (R, G, group / 2); the first of two weights is in the lower half.
        scales: (R, G, 1), float16 where that is enough.
        offsets: (R, G, 1), the smallest weight of each group, in the same format.
        shape: Of the weights.
        format: Of the weights.
    """

    pairs: Tensor
    scales: Tensor
    offsets: Tensor
    shape: torch.Size
    format: torch.dtype

    @property
    def bytes(self) -> int:
        """What it takes."""
        return _bytes(self.pairs, self.scales, self.offsets)

    def values(self) -> Tensor:
        """The rounded weights."""
        return self._values(self.pairs, self.scales, self.offsets).reshape(self.shape)

    def rows(self, numbers: Tensor) -> Tensor:
        """The rounded rows with these numbers, any shape -> that shape and the rest of a row."""
        found = self._values(self.pairs[numbers], self.scales[numbers], self.offsets[numbers])
        return found.reshape(*numbers.shape, *self.shape[1:])

    def _values(self, pairs: Tensor, scales: Tensor, offsets: Tensor) -> Tensor:
        levels = torch.stack((pairs & 15, pairs >> 4), dim=-1).flatten(start_dim=-2).to(self.format)
        flat = (levels * scales.to(self.format) + offsets.to(self.format)).flatten(start_dim=-2)
        # A row that is no multiple of the group was filled up.
        return flat[..., : self.shape[1:].numel()]


def int8(weights: Tensor) -> Int8:
    """(R, ...) to the nearest of 255 levels of each row."""
    rest = tuple(range(1, weights.dim()))
    scales = (weights.abs().amax(dim=rest, keepdim=True) / LEVELS_8).clamp(min=torch.finfo(weights.dtype).tiny)
    return Int8((weights / scales).round().clamp(-LEVELS_8, LEVELS_8).to(torch.int8), scales)


def int4(weights: Tensor, *, group: int) -> Int4:
    """(R, ...) to the nearest of 16 levels between the smallest and the largest weight of each group of a row.

    Args:
        weights: Any shape of two dimensions or more.
        group: How many share a scale; an odd number is filled up.
    """
    rows = weights.flatten(start_dim=1)
    size = group + group % 2
    # The last weight again, which does not widen its group.
    filled = pad(rows[None], (0, -rows.shape[1] % size), mode="replicate")[0].unflatten(1, (-1, size))
    offsets, highest = filled.amin(dim=2, keepdim=True), filled.amax(dim=2, keepdim=True)
    scales = (highest - offsets) / LEVELS_4
    short = scales.half(), offsets.half()
    if all(bool(torch.isfinite(part).all()) for part in short):
        scales, offsets = short
    exact = scales.to(weights.dtype)
    steps = torch.where(exact > 0, exact, torch.ones_like(exact))
    levels = ((filled - offsets.to(weights.dtype)) / steps).round().clamp(0, LEVELS_4).to(torch.uint8)
    pairs = levels[..., 0::2] | levels[..., 1::2] << 4
    return Int4(pairs, scales, offsets, weights.shape, weights.dtype)


def _bytes(*tensors: Tensor) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
