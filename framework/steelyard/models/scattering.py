"""A linear classifier on wavelet coefficients, for private training."""

import math
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from steelyard.kinds import Kind
from steelyard.models.imaging import check_images
from steelyard.problem import refuse

SMALLEST = 16
TINY = 1e-12
"""Under the root of a modulus, whose gradient at 0 would be none."""


@final
class Scattering(nn.Module):
    """A Linear layer on the scattering coefficients of order 0 and 1, which nothing has to be learned for.

    Each channel is convolved with Morlet wavelets in several scales and directions; of what comes out, the modulus is
    taken, blurred, sampled on a grid and standardised within the example, map by map (Bruna and Mallat 2013,
    "Invariant scattering convolution networks", equations 2 and 4, without their order 2). A private training takes
    less from so few weights than from a network that has to learn its features, too (Tramer and Boneh 2021,
    "Differentially private learning needs better features"); no layer mixes the examples of a batch.

    Args:
        input_shape: (channels, height, width) of one example, both sides at least 16.
        classes: Number of logits.
        scales: How many; the wavelets of each are twice as large as those of the one before.
        angles: Directions of wavelets, evenly over half a turn.
        step: Pixels from one sample to the next.
    """

    does = frozenset({Kind.IMAGE_TO_CLASS})

    def __init__(
        self, *, input_shape: Sequence[int], classes: int, scales: int = 2, angles: int = 8, step: int = 2
    ) -> None:
        super().__init__()
        check_images("scattering", input_shape, smallest=SMALLEST)
        channels, height, width = input_shape
        self.wavelets = Wavelets(height, width, scales=scales, angles=angles, step=step)
        maps = channels * (1 + scales * angles)
        self.standardise = nn.GroupNorm(maps, maps, affine=False)
        self.layer = nn.Linear(maps * -(-height // step) * -(-width // step), classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (B, classes)."""
        return self.layer(self.standardise(self.wavelets(inputs)).flatten(1))


@final
class Wavelets(nn.Module):
    """Blurred pictures and blurred moduli of their wavelet transforms.

    Args:
        height: Of the pictures.
        width: Of the pictures.
        scales: How many; the wavelets of scale j have a standard deviation of 0.8 times 2**j pixels, and are taken at
            every 2**j-th pixel.
        angles: Directions of wavelets, evenly over half a turn.
        step: Pixels from one sample to the next; the blur has a standard deviation of 0.8 of it.
    """

    def __init__(self, height: int, width: int, *, scales: int, angles: int, step: int) -> None:
        super().__init__()
        most = int(math.log2(min(height, width))) - 1
        for name, value, limit in (("scales", scales, most), ("angles", angles, None), ("step", step, SMALLEST // 2)):
            if value < 1 or (limit is not None and value > limit):
                asked = "at least 1" if limit is None else f"from 1 to {limit} for pictures of {height} x {width}"
                raise refuse(f"model.{name} is {value}, must be {asked}", fix=f"model.{name}=2")
        self._scales = scales
        for scale in range(scales):
            pairs = [_morlet(scale, angle=math.pi * number / angles, slant=4 / angles) for number in range(angles)]
            filters = torch.stack([part for parts in zip(*pairs, strict=True) for part in parts])[:, None]
            self.register_buffer(f"filters_{scale}", filters, persistent=False)
            for name, side in (("rows", height), ("columns", width)):
                blur = _blur(side, every=2**scale, step=step)
                self.register_buffer(f"{name}_{scale}", blur, persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, channels, height, width) to (B, channels * (1 + scales * angles), rows, columns) of samples."""
        pictures = inputs.flatten(0, 1)[:, None]
        found = [self._sampled(pictures, 0)]
        for scale in range(self._scales):
            filters = self.get_buffer(f"filters_{scale}")
            both = conv2d(pictures, filters, stride=2**scale, padding=filters.shape[-1] // 2)
            real, imaginary = both.chunk(2, dim=1)
            found.append(self._sampled((real * real + imaginary * imaginary + TINY).sqrt(), scale))
        maps = torch.cat(found, dim=1)
        return maps.reshape(len(inputs), inputs.shape[1] * maps.shape[1], *maps.shape[2:])

    def _sampled(self, maps: Tensor, scale: int) -> Tensor:
        return self.get_buffer(f"rows_{scale}") @ (maps @ self.get_buffer(f"columns_{scale}").T)


def _morlet(scale: int, *, angle: float, slant: float) -> tuple[Tensor, Tensor]:
    """Real and imaginary part of a Morlet wavelet, both odd squares of one size.

    A wave of 3/4 pi a pixel, halved with each scale, below a bell that is longer along its crests by 1 over `slant`;
    less as much of the bell as makes the sum 0. The bell sums to about 1.
    """
    deviation, frequency = 0.8 * 2**scale, 0.75 * math.pi / 2**scale
    reach = math.ceil(3 * deviation)
    steps = torch.arange(-reach, reach + 1, dtype=torch.float64)
    down, right = steps[:, None], steps[None]
    along = right * math.cos(angle) + down * math.sin(angle)
    across = down * math.cos(angle) - right * math.sin(angle)
    bell = torch.exp(-(along.square() + (slant * across).square()) / (2 * deviation**2))
    bell = bell * slant / (2 * math.pi * deviation**2)
    wave = torch.cos(frequency * along)
    wave = wave - (bell * wave).sum() / bell.sum()
    return (bell * wave).float(), (bell * torch.sin(frequency * along)).float()


def _blur(side: int, *, every: int, step: int) -> Tensor:
    """Weights (samples, points) of the points 0, `every`, ... in the samples 0, `step`, ...; rows sum to 1."""
    points, samples = torch.arange(0, side, every), torch.arange(0, side, step)
    weights = torch.exp(-(samples[:, None] - points).double().square() / (2 * (0.8 * step) ** 2))
    return (weights / weights.sum(dim=1, keepdim=True)).float()
