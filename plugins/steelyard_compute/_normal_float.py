# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""NF4: four bits for each weight, on the quantiles of a normal distribution (Dettmers et al. 2023, "QLoRA").

Blocks of the flattened weight share a scale, the largest magnitude of the block. Scales may be rounded, too ("double
quantisation"): less their mean, in floats of 8 bits, with one number for 256 of them.
"""

from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

OFFSET = (1 - 1 / 30 + 1 - 1 / 32) / 2
"""The outermost quantile: halfway between those of 15 and of 16 levels (appendix E), so that 1 is not at infinity."""
SHARED = 256
"""Scales that share one number, where they are rounded."""
FLOAT8 = 448.0
"""The largest float of 8 bits with 4 bits of exponent."""
MIDDLE = 7
"""The code of zero."""


def levels() -> tuple[float, ...]:
    """The 16 values from -1 to 1, in order: 8 quantiles below zero, zero, and 7 above it and 1 (equation 4)."""
    quantile = NormalDist().inv_cdf
    most = quantile(OFFSET)
    below = [-quantile(OFFSET + (0.5 - OFFSET) * step / 7) / most for step in range(7)]
    above = [quantile(OFFSET + (0.5 - OFFSET) * step / 8) / most for step in range(8)]
    return (*below, 0.0, *reversed(above))


LEVELS = levels()
BORDERS = tuple((low + high) / 2 for low, high in pairwise(LEVELS))
"""Halfway between neighbours."""


@dataclass(frozen=True, slots=True)
class NormalFloat:
    """A weight in 4 bits. Floats are kept by their bits in whole numbers, which `module.to(dtype)` leaves alone.

    Attributes:
        pairs: uint8 (ceil(N / 2),); the first of two weights is in the lower half.
        scales: int32 (ceil(N / block),), the bits of float32; or uint8, those of float8_e4m3fn.
        coarse: int32, the bits of float32: the mean of the scales, then a number for each 256; empty where the scales
            are not rounded.
        shape: Of the weight.
        block: Weights that share a scale; even.
        format: Of the weight.
    """

    pairs: Tensor
    scales: Tensor
    coarse: Tensor
    shape: torch.Size
    block: int
    format: torch.dtype

    @property
    def bytes(self) -> int:
        """What it takes."""
        return sum(part.numel() * part.element_size() for part in (self.pairs, self.scales, self.coarse))

    def values(self) -> Tensor:
        """The rounded weight."""
        return self._values(self.pairs, fine(self.scales, self.coarse))[: self.shape.numel()].view(self.shape)

    def rows(self, numbers: Tensor) -> Tensor:
        """The rounded rows with these numbers, any shape -> that shape and the rest of a row."""
        row = self.shape[1:].numel()
        if row % self.block:
            return self.values()[numbers]
        scales = fine(self.scales, self.coarse).view(-1, row // self.block)[numbers]
        found = self._values(self.pairs.view(-1, row // 2)[numbers].flatten(), scales.flatten())
        return found.view(*numbers.shape, *self.shape[1:])

    def _values(self, pairs: Tensor, scales: Tensor) -> Tensor:
        both = torch.tensor([(low, high) for high in LEVELS for low in LEVELS], device=pairs.device)
        # Two floats at once, as one number of 64 bits, which is five times as fast.
        flat = torch.index_select(both.view(torch.int64).flatten(), 0, pairs.int()).view(torch.float32)
        short = len(scales) * self.block - len(flat)
        whole = pad(flat, (0, short)) if short else flat
        return whole.view(-1, self.block).mul_(scales[:, None]).flatten().to(self.format)


def nf4(weight: Tensor, *, block: int = 64, double: bool = False) -> NormalFloat:
    """(any shape) to the nearest of 16 levels, times the largest magnitude of its block.

    Args:
        weight: Finite floats.
        block: Weights that share a scale; even.
        double: Rounds the scales, too.
    """
    flat = weight.detach().flatten().float()
    whole = pad(flat, (0, -len(flat) % block)).view(-1, block)
    exact = whole.abs().amax(dim=1)
    scales, coarse = rounded_scales(exact) if double else (exact.view(torch.int32), exact[:0].view(torch.int32))
    known = fine(scales, coarse)[:, None]
    shares = torch.where(known > 0, whole / known, torch.zeros_like(whole))
    borders = torch.tensor(BORDERS, device=weight.device)
    codes = torch.bucketize(shares, borders, out_int32=True).flatten()[: len(flat) + len(flat) % 2].to(torch.uint8)
    return NormalFloat(codes[0::2] | codes[1::2] << 4, scales, coarse, weight.shape, block, weight.dtype)


def rounded_scales(scales: Tensor) -> tuple[Tensor, Tensor]:
    """float32 (M,) -> uint8 (M,) and int32 (1 + ceil(M / 256),), as `NormalFloat` keeps them."""
    mean = scales.double().mean().float()
    groups = pad(scales - mean, (0, -len(scales) % SHARED)).view(-1, SHARED)
    most = groups.abs().amax(dim=1) / FLOAT8
    shares = torch.where(most[:, None] > 0, groups / most[:, None], torch.zeros_like(groups)).clamp(-FLOAT8, FLOAT8)
    codes = shares.flatten()[: len(scales)].to(torch.float8_e4m3fn).view(torch.uint8)
    return codes, torch.cat((mean[None], most)).view(torch.int32)


def fine(scales: Tensor, coarse: Tensor) -> Tensor:
    """The scales, float32 (M,), none below 0."""
    if not len(coarse):
        return scales.view(torch.float32)
    floats: Any = coarse.view(torch.float32)
    most = floats[1:].repeat_interleave(SHARED)[: len(scales)]
    return (scales.view(torch.float8_e4m3fn).float() * most + floats[0]).clamp(min=0)
