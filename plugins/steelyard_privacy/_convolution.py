# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Per-example gradients of a convolution's weight, some examples at a time, so that what is made beside them is small.

All examples at once would take several times the memory of the gradients, cold each time, for no gain in speed.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.grad import conv2d_weight

MANY = 16
"""Channels from which on a convolution is quicker than products."""
SCRATCH = 2**18
"""So many numbers may be made beside the result: what fits into a processor's second cache."""


def at_once(numbers: int) -> int:
    """How many examples to work on at a time, where each needs so many numbers beside the result."""
    return max(1, SCRATCH // max(1, numbers))


def convolution_samples(layer: Any, back: Tensor, inputs: Tensor) -> Tensor:
    """The gradients of a plain `nn.Conv2d`'s weight.

    Args:
        layer: Without groups, padded by zeros.
        back: Gradients of what came out (n, p, *place).
        inputs: What went in (n, c, *size).

    Returns:
        (n, *weight.shape).
    """
    weight, few = layer.weight, layer.in_channels < MANY
    samples = back.new_empty(len(back), *weight.shape)
    beside = weight[0].numel() * back[0, 0].numel() if few else inputs[0].numel() + weight.numel()
    number = at_once(beside + back[0].numel())
    for mine, some, into in zip(back.split(number), inputs.split(number), samples.split(number), strict=True):
        if few:
            _by_patches(layer, mine, some, into)
        else:
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


def _by_patches(layer: Any, back: Tensor, inputs: Tensor, samples: Tensor) -> None:
    """A product with what each place of the kernel saw; for few channels, which leave a convolution idle."""
    (high, wide), (down, right) = layer.padding, layer.stride
    padded = functional.pad(inputs, (wide, wide, high, high)).contiguous()
    example, channel, row, column = padded.stride()
    (count, channels), place = inputs.shape[:2], back.shape[2:]
    patches = padded.as_strided(
        (count, channels, *layer.kernel_size, *place),
        (example, channel, layer.dilation[0] * row, layer.dilation[1] * column, down * row, right * column),
    )
    patches = patches.reshape(count, -1, place.numel())
    back = back.reshape(count, -1, place.numel())
    torch.bmm(back, patches.transpose(1, 2), out=samples.flatten(start_dim=2).view(count, back.shape[1], -1))
