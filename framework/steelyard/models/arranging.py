"""Inputs in the shape that a model of another house expects."""

import math
from collections.abc import Callable, Sequence

from torch import Tensor

from steelyard.problem import refuse

Arrange = Callable[[Tensor], Tensor]


def arrangement(own: Sequence[int], *, wanted: Sequence[int | None] | None, channels_last: bool) -> Arrange:
    """How a batch of the data becomes a batch of the model.

    Args:
        own: Shape of one example of the data; pictures have their channels first.
        wanted: Shape of one example of the model, None for any size; None where the model takes what comes.
        channels_last: Whether the model has its channels last where `wanted` does not say.

    Raises:
        Refused: If the one cannot become the other.
    """
    picture = len(own) == 3
    ways: list[tuple[Sequence[int], Arrange]] = [(own, as_it_is)]
    if picture:
        moved = (tuple(own[1:]) + tuple(own[:1]), channels_to_the_end)
        ways.insert(0 if channels_last else 1, moved)
    if picture and own[0] == 1:
        ways.append((own[1:], without_channels))
    ways.append(((math.prod(own),), flat))
    if wanted is None:
        return ways[0][1]
    for shape, way in ways:
        if len(shape) == len(wanted) and all(size in (one, None) for one, size in zip(shape, wanted, strict=True)):
            return way
    raise refuse(
        f"the model takes inputs of shape {tuple(wanted)}, and the data has {tuple(own)}",
        fix="model.build=my_module.make_model  (a function that takes input_shape and classes)",
    )


def as_it_is(batch: Tensor) -> Tensor:
    """No change."""
    return batch


def channels_to_the_end(batch: Tensor) -> Tensor:
    """(B, C, H, W) to (B, H, W, C)."""
    return batch.movedim(1, -1)


def without_channels(batch: Tensor) -> Tensor:
    """(B, 1, H, W) to (B, H, W)."""
    return batch.flatten(1, 2)


def flat(batch: Tensor) -> Tensor:
    """(B, ...) to (B, values); pictures pixel by pixel, as one has them in Keras."""
    return (channels_to_the_end(batch) if batch.dim() == 4 else batch).flatten(1)
