# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Per-example gradients of a convolution's weight, some examples at a time, so that what is made beside them is small.

All examples at once would take several times the memory of the gradients, cold each time, for no gain in speed.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.grad import conv2d_weight

MANY, WIDE = 16, 192
"""Channels, and places of what comes out, from which on together a convolution is quicker than products."""
LARGE, WIDER = 2**16, 512
"""Numbers of a weight from which on it takes so many places."""
SCRATCH, GROUPED = 2**18, 2**19
"""So many numbers may be made beside the result: what fits into a processor's second cache. Twice as many in groups,
of which few take longer to call than to work out."""


def at_once(numbers: int, scratch: int = SCRATCH) -> int:
    """How many examples to work on at a time, where each needs so many numbers beside the result."""
    return max(1, scratch // max(1, numbers))


def convolution_samples(layer: Any, back: Tensor, inputs: Tensor) -> Tensor:
    """The gradients of a plain `nn.Conv2d`'s weight.

    Args:
        layer: Without groups, padded by zeros.
        back: Gradients of what came out (n, p, *place).
        inputs: What went in (n, c, *size).

    Returns:
        (n, *weight.shape), where that is quicker with the channels last in memory.
    """
    weight, places = layer.weight, back[0, 0].numel()
    if layer.kernel_size == (1, 1) and layer.padding == (0, 0):
        down, right = layer.stride
        seen = inputs[:, :, ::down, ::right].flatten(start_dim=2)
        return torch.bmm(back.flatten(start_dim=2), seen.transpose(1, 2)).view(len(back), *weight.shape)
    if layer.in_channels < MANY or places < (WIDE if weight.numel() < LARGE else WIDER):
        samples = back.new_empty(len(back), len(weight), *layer.kernel_size, layer.in_channels)
        number = at_once(weight[0].numel() * places + inputs[0].numel())
        for mine, some, into in zip(back.split(number), inputs.split(number), samples.split(number), strict=True):
            torch.bmm(mine.flatten(start_dim=2), _patches(layer, some, back.shape[2:]), out=into.flatten(start_dim=2))
        return samples.movedim(-1, 2)
    samples = back.new_empty(len(back), *weight.shape)
    number = at_once(inputs[0].numel() + weight.numel() + back[0].numel(), GROUPED)
    for mine, some, into in zip(back.split(number), inputs.split(number), samples.split(number), strict=True):
        into.copy_(_by_groups(layer, mine, some).view_as(into))
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
