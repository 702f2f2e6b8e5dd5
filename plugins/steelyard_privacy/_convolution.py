# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Per-example gradients of a convolution's weight, some examples at a time, so that what is made beside them is small.

All examples of a large batch would take several times the memory of the gradients, cold each time, for no gain.
"""

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
WHOLE = 3 * 2**19
"""So many may be made for all examples in one call, whose result is not copied; ordinary backward passes make them."""
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
        return Samples(_many_channels(layer, back, inputs), CHANNELS_LAST)
    each = inputs[0].numel() + weight.numel() + back[0].numel()
    if len(back) * each <= WHOLE:
        return Samples(_by_groups(layer, back, inputs).view(len(back), *weight.shape))
    number, samples = at_once(each, GROUPED), back.new_empty(len(back), *weight.shape)
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


def _many_channels(layer: Any, back: Tensor, inputs: Tensor) -> Tensor:
    """The same, but the channels are last, since they are next to each other: whole rows of the kernel are copied."""
    (high, wide), (down, right), (far, aside) = layer.padding, layer.stride, layer.dilation
    weight, place = layer.weight, back.shape[2:]
    count, channels, rows, columns = inputs.shape
    samples = back.new_empty(count, len(weight), *layer.kernel_size, channels)
    number = min(count, at_once(weight[0].numel() * place.numel() + inputs[0].numel()))
    # Nothing is written to the padding.
    padded = inputs.new_zeros(number, rows + 2 * high, columns + 2 * wide, channels)
    inner = padded[:, high : high + rows, wide : wide + columns].permute(0, 3, 1, 2)
    example, row, column, channel = padded.stride()
    seen = padded.as_strided(
        (number, *place, *layer.kernel_size, channels),
        (example, down * row, right * column, far * row, aside * column, channel),
    )
    part = seen.new_empty(seen.shape)
    left, into = back.flatten(start_dim=2).split(number), samples.flatten(start_dim=2).split(number)
    for mine, some, found in zip(left, inputs.split(number), into, strict=True):
        if len(some) < len(part):
            inner, seen, part = (one[: len(some)] for one in (inner, seen, part))
        inner.copy_(some)
        part.copy_(seen)
        torch.bmm(mine, part.view(len(some), place.numel(), -1), out=found)
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
