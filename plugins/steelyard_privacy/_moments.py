# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""What an operation has kept for its backward pass, read off its node in the graph.

torch documents the attributes by which it is read, `_saved_...` (notes on autograd, "saved tensors"), but not which of
them an operation has: seen on torch 2.13.0, and a test names them.
"""

from typing import Any, NamedTuple

from torch import Tensor
from torch.autograd.graph import Node

NORMALISED = "NativeGroupNormBackward0"


class Moments(NamedTuple):
    """Of each example and group of channels, (n, groups).

    Attributes:
        mean: The mean.
        scale: The inverse of the standard deviation.
    """

    mean: Tensor
    scale: Tensor


def moments_of(node: Node) -> Moments | None:
    """Those by which group normalisation has normalised; None for another operation. Before the backward pass."""
    if node.name() != NORMALISED:
        return None
    kept: Any = node
    return Moments(kept._saved_result1.detach(), kept._saved_result2.detach())
