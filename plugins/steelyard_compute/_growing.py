"""Batches that begin small and grow to their whole size."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from pytorch_lightning import Trainer
from torch import Tensor

from steelyard.problem import refuse


def steps_of(trainer: Trainer, *, key: str) -> int:
    """Steps of the whole training.

    Raises:
        Refused: If nobody knows.
    """
    steps = float(trainer.estimated_stepping_batches)
    if not math.isfinite(steps):
        raise refuse(f"{key} grows over a part of the training, and its length is open", fix="trainer.max_epochs=3")
    return int(steps)


def grown(*, least: int, whole: int, share: float, multiple: int) -> int:
    """How large something is when a share of the growing is done.

    Args:
        least: Where it begins.
        whole: Where it ends.
        share: From 0 to 1, and beyond where it is done.
        multiple: In between it is one of this.
    """
    if share >= 1 or least >= whole:
        return whole
    size = least + share * (whole - least)
    return min(whole, max(least, math.floor(size / multiple) * multiple))


@dataclass
class Swapped:
    """Numbers that stand in a batch for a step, in place of its own.

    A loader may give the same tensor again, so its own come back before the next batch.
    """

    _own: list[tuple[Tensor, Tensor]] = field(default_factory=list[tuple[Tensor, Tensor]])

    def put(self, places: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Tensors of a batch, and what they shall hold."""
        for tensor, other in places:
            self._own.append((tensor, tensor.data))
            tensor.data = other

    def back(self) -> None:
        """Everything as it was."""
        while self._own:
            tensor, own = self._own.pop()
            tensor.data = own
