# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""What a norm layer has kept for its backward pass, read off its node in the graph, and what follows from it.

torch documents the attributes by which it is read, `_saved_...` (notes on autograd, "saved tensors"), but not which of
them an operation has, nor the operation that makes its gradients: seen on torch 2.13.0, and tests name them.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import Node

NORMALISED = frozenset({"NativeGroupNormBackward0", "NativeLayerNormBackward0"})


class Moments(NamedTuple):
    """Of each example and group of channels, (n, groups); of layer normalisation (n, ..., 1), to go with its input.

    Attributes:
        mean: The mean.
        scale: The inverse of the standard deviation.
    """

    mean: Tensor
    scale: Tensor


def moments_of(node: Node) -> Moments | None:
    """Those by which a norm layer has normalised; None for another operation. Before the backward pass."""
    if node.name() not in NORMALISED:
        return None
    kept: Any = node
    return Moments(kept._saved_result1.detach(), kept._saved_result2.detach())


class Gradients(NamedTuple):
    """Of each example, (n, c).

    Attributes:
        weight: sum_t back_t (input_t - mean) scale.
        bias: sum_t back_t.
    """

    weight: Tensor
    bias: Tensor


def gradients_of(back: Tensor, inputs: Tensor, moments: Moments) -> Gradients:
    """The gradients of group normalisation's weight and bias for each example.

    To torch's own operation, which adds them up over the examples, the channels of all examples are those of one.

    Args:
        back: Gradient of what came out (n, c, *places).
        inputs: What went in (n, c, *places), of the same type.
        moments: By which the input was normalised, of the same type.
    """
    count, channels = back.shape[:2]
    place = back[0, 0].numel()
    whole = (1, count * channels, place)
    found = torch.ops.aten.native_group_norm_backward(
        back.reshape(whole),
        inputs.reshape(whole),
        moments.mean.reshape(1, -1),
        moments.scale.reshape(1, -1),
        # For the gradient of the input, which is not asked for.
        back.new_ones(count * channels),
        1,
        count * channels,
        place,
        moments.mean.numel(),
        [False, True, True],
    )
    return Gradients(*(one.view(count, channels) for one in found[1:]))
