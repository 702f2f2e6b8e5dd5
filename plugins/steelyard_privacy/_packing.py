# pyright: reportUnknownMemberType=false
"""What products on the CPU keep, made once for batches of every size.

MKL packs the factors of a product into a buffer and keeps it, up to five of them: a product that needs a larger one
than all before it leaves one more. Poisson sampling draws ever new sizes, so that each batch that is larger than all
before it would leave one, of over a megabyte for a layer of a thousand numbers; batches of one size leave one.
"""

import torch
from torch import nn

from steelyard.estimating._buffers import COLUMNS, DEEPEST, ROWS, buffer

DEEP = 2 * DEEPEST
"""What is summed over: from so much on a buffer does not grow with it."""
Sizes = tuple[int, int, int]
"""Rows, what is summed over, and columns of a product."""


def make_buffer(task: nn.Module) -> None:
    """Multiplies once as the Linear layer whose products need the largest buffer, of however many examples.

    That of numbers in single precision on the CPU. What is multiplied are zeros, in 20 MiB of memory at most.
    """
    weights = [module.weight for module in task.modules() if type(module) is nn.Linear]
    sizes = [
        sizes
        for weight in weights
        if weight.device.type == "cpu" and weight.dtype is torch.float32
        for sizes in _products(*weight.shape)
    ]
    largest = max(sizes, key=_room, default=None)
    if largest is not None and _room(largest) and torch.backends.mkl.is_available():
        rows, deep, columns = largest
        with torch.autocast("cpu", enabled=False):
            torch.mm(torch.zeros(rows, deep), torch.zeros(deep, columns))


def _products(p: int, d: int) -> tuple[Sizes, Sizes, Sizes]:
    """Those of a layer's forward and backward pass and of the sum of its gradients, as far as is packed at once."""
    return (
        (ROWS, min(d, DEEP), min(p, COLUMNS)),
        (ROWS, min(p, DEEP), min(d, COLUMNS)),
        (min(p, ROWS), DEEPEST, min(d, COLUMNS)),
    )


def _room(sizes: Sizes) -> int:
    made = buffer(*sizes)
    return 0 if made is None else made.of
