# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Moments of gradients in 8 bits: pure functions."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

SIGNED, UNSIGNED = 127, 255


@dataclass(frozen=True, slots=True)
class Packed:
    """Numbers in 8 bits, in blocks.

    Attributes:
        levels: int8 (B, block) with a sign, uint8 without; the square of a level, over that of the largest, is the
            share of the block's scale.
        scales: (B, 1), the largest absolute value of each block.
    """

    levels: Tensor
    scales: Tensor

    @property
    def bytes(self) -> int:
        """What it takes."""
        return self.levels.numel() + self.scales.numel() * self.scales.element_size()

    def part(self, blocks: slice) -> "Packed":
        """Some blocks of it, as views."""
        return Packed(self.levels[blocks], self.scales[blocks])

    def overwrite(self, other: "Packed") -> None:
        """Takes over the numbers of another one with as many blocks."""
        self.levels.copy_(other.levels)
        self.scales.copy_(other.scales)

    def to(self, device: torch.device) -> "Packed":
        """On another device; itself where it is there."""
        return Packed(self.levels.to(device), self.scales.to(device))


def packed_zeros(count: int, *, block: int, signed: bool, device: torch.device) -> Packed:
    """`pack` of as many zeros, without ever having them in 32 bits."""
    blocks, dtype = -(-count // block), torch.int8 if signed else torch.uint8
    levels = torch.zeros(blocks, block, dtype=dtype, device=device)
    return Packed(levels, torch.zeros(blocks, 1, device=device))


def pack(values: Tensor, *, block: int, signed: bool, generator: torch.Generator) -> Packed:
    """Any shape to the next level below or above, at random, so that the expected level is exact.

    A number that is not 0 never becomes 0 without a sign: what is divided by it would grow without bound.

    Args:
        values: float32; not negative where `signed` is False.
        block: How many share a scale.
        signed: Whether there are negative numbers.
        generator: Of the rounding.
    """
    flat = values.flatten()
    blocks = pad(flat, (0, -len(flat) % block)).unflatten(0, (-1, block))
    scales = blocks.abs().amax(dim=1, keepdim=True)
    # Of a block of zeros the shares are 0, too.
    shares = blocks / scales.clamp(min=torch.finfo(scales.dtype).tiny)
    largest = SIGNED if signed else UNSIGNED
    exact = shares.abs().sqrt_().mul_(largest)
    draws = torch.rand(exact.shape, generator=generator, device=exact.device)
    levels = exact.add_(draws).floor_().clamp_(max=largest)
    if signed:
        return Packed(levels.copysign_(shares).to(torch.int8), scales)
    return Packed(torch.where(shares > 0, levels.clamp_(min=1), 0).to(torch.uint8), scales)


def unpack(packed: Packed, shape: torch.Size) -> Tensor:
    """The numbers again, float32 of this shape."""
    largest = SIGNED if packed.levels.dtype == torch.int8 else UNSIGNED
    levels = packed.levels.float()
    values = levels * levels.abs() * (packed.scales / largest**2)
    return values.flatten()[: shape.numel()].reshape(shape)
