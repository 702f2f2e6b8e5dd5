# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Per-example gradients of a convolution's weight, some examples at a time, so that what is made beside them is small.

All examples at once would take several times the memory of the gradients, cold each time, for no gain in speed.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.grad import conv2d_weight

MANY, WIDE = 16, 192
"""Channels, and places of what comes out, from which on together a convolution is quicker than products."""
LARGE, WIDER = 2**16, 512
"""Numbers of a weight from which on it takes so many places."""
SCRATCH, GROUPED = 2**18, 2**19
"""So many numbers may be made beside the result: what fits into a processor's second cache. Twice as many in groups,
of which few take longer to call than to work out."""
AS_WEIGHT, CHANNELS_LAST, OUTPUTS_LAST = (0, 1, 2, 3), (0, 2, 3, 1), (1, 2, 3, 0)
"""Orders of the dimensions of a weight (p, c, *kernel)."""


def at_once(numbers: int, scratch: int = SCRATCH) -> int:
    """How many examples to work on at a time, where each needs so many numbers beside the result."""
    return max(1, scratch // max(1, numbers))


class Samples(NamedTuple):
    """Gradients of a convolution's weight (p, c, *kernel) in the order of dimensions in which they were made.

    Attributes:
        values: (n, *the weight's dimensions in that order).
        order: Which dimension of the weight stands at each place.
    """

    values: Tensor
    order: tuple[int, ...] = AS_WEIGHT

    def ordered(self) -> Tensor:
        """(n, p, c, *kernel), contiguous."""
        places = (1 + self.order.index(dimension) for dimension in AS_WEIGHT)
        return self.values.permute(0, *places).contiguous()


def convolution_samples(layer: Any, back: Tensor, inputs: Tensor) -> Samples:
    """The gradients of a plain `nn.Conv2d`'s weight, in the order that is quickest.

    Args:
        layer: Without groups, padded by zeros.
        back: Gradients of what came out (n, p, *place).
        inputs: What went in (n, c, *size).
    """
    weight, places = layer.weight, back[0, 0].numel()
    if layer.kernel_size == (1, 1) and layer.padding == (0, 0):
        down, right = layer.stride
        seen = inputs[:, :, ::down, ::right].flatten(start_dim=2)
        return Samples(torch.bmm(back.flatten(start_dim=2), seen.transpose(1, 2)).view(len(back), *weight.shape))
    if layer.in_channels < MANY:
        return Samples(_few_channels(layer, back, inputs), OUTPUTS_LAST)
    if places < (WIDE if weight.numel() < LARGE else WIDER):
        samples = back.new_empty(len(back), len(weight), *layer.kernel_size, layer.in_channels)
        number = at_once(weight[0].numel() * places + inputs[0].numel())
        for mine, some, into in zip(back.split(number), inputs.split(number), samples.split(number), strict=True):
            torch.bmm(mine.flatten(start_dim=2), _patches(layer, some, back.shape[2:]), out=into.flatten(start_dim=2))
        return Samples(samples, CHANNELS_LAST)
    samples = back.new_empty(len(back), *weight.shape)
    number = at_once(inputs[0].numel() + weight.numel() + back[0].numel(), GROUPED)
    for mine, some, into in zip(back.split(number), inputs.split(number), samples.split(number), strict=True):
        into.copy_(_by_groups(layer, mine, some).view_as(into))
    return Samples(samples)


def _few_channels(layer: Any, back: Tensor, inputs: Tensor) -> Tensor:
    """By products of what the kernel saw, which is copied row by row of the images, into memory that stays warm."""
    (high, wide), (down, right), (far, aside) = layer.padding, layer.stride, layer.dilation
    weight, place = layer.weight, back.shape[2:]
    samples = back.new_empty(len(back), *weight.shape[1:], len(weight))
    number = at_once(weight[0].numel() * place.numel() + inputs[0].numel())
    seen = back.new_empty(min(number, len(back)), *weight.shape[1:], *place)
    for mine, some, into in zip(back.split(number), inputs.split(number), samples.split(number), strict=True):
        padded = functional.pad(some, (wide, wide, high, high)).contiguous()
        example, channel, row, column = padded.stride()
        part = seen[: len(some)]
        steps = (example, channel, far * row, aside * column, down * row, right * column)
        part.copy_(padded.as_strided(part.shape, steps))
        left, other = part.view(len(some), -1, place.numel()), mine.flatten(start_dim=2).transpose(1, 2)
        torch.bmm(left, other, out=into.view(len(some), -1, len(weight)))
    return samples


def _by_groups(layer: Any, back: Tensor, inputs: Tensor) -> Tensor:
    """One convolution of all examples, of which each is a group of channels."""
    (count, output, *place), channels = back.shape, inputs.shape[1]
    return conv2d_weight(
        inputs.reshape(1, count * channels, *inputs.shape[2:]),
        (count * output, channels, *layer.kernel_size),
        back.reshape(1, count * output, *place),
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        groups=count,
    )


def _patches(layer: Any, inputs: Tensor, place: Sequence[int]) -> Tensor:
    """What the kernel saw at each place, (n, places, kernel * c): channels last, since they are next to each other."""
    (high, wide), (down, right), (far, aside) = layer.padding, layer.stride, layer.dilation
    count, channels, rows, columns = inputs.shape
    padded = inputs.new_zeros(count, rows + 2 * high, columns + 2 * wide, channels)
    padded[:, high : high + rows, wide : wide + columns] = inputs.permute(0, 2, 3, 1)
    example, row, column, channel = padded.stride()
    seen = padded.as_strided(
        (count, *place, *layer.kernel_size, channels),
        (example, down * row, right * column, far * row, aside * column, channel),
    )
    return seen.reshape(count, math.prod(place), -1)
