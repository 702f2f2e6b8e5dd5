"""Mu-law companding: samples in [-1, 1] to levels that are fine where it is quiet (ITU-T G.711 in closed form)."""

import math

import torch
from torch import Tensor


def compress(samples: Tensor, *, levels: int) -> Tensor:
    """Samples in [-1, 1] on the companded scale, also in [-1, 1]: sign(x) log(1 + mu |x|) / log(1 + mu)."""
    top = levels - 1
    # Not sign(x) log(|x|): there silence would have no gradient. At 0 clamp passes one on, and relu passes none.
    up, down = samples.clamp(min=0), (-samples).relu()
    return (torch.log1p(top * up) - torch.log1p(top * down)) / math.log1p(top)


def encode(samples: Tensor, *, levels: int) -> Tensor:
    """The nearest level of each sample: integers 0 to `levels` - 1."""
    scaled = (compress(samples.clamp(-1, 1), levels=levels) + 1) / 2 * (levels - 1)
    return scaled.round().long()


def place(codes: Tensor, *, levels: int) -> Tensor:
    """Where levels lie on the companded scale, in [-1, 1]."""
    return codes.float() / (levels - 1) * 2 - 1


def decode(codes: Tensor, *, levels: int) -> Tensor:
    """The sample in the middle of each level."""
    spread = place(codes, levels=levels)
    return spread.sign() * torch.expm1(spread.abs() * math.log(levels)) / (levels - 1)
