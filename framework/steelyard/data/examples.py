"""Labelled examples in memory, gathered a batch at a time."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor
from torch.utils.data import Dataset

Batch = tuple[Tensor, Tensor]
"""Inputs (B, ...) as float32 and targets (B, ...), for classes int64."""


@final
class Examples(Dataset[Batch]):
    """Inputs and targets as two tensors.

    A batch is gathered by one indexing operation (`__getitems__`, which PyTorch's loader prefers), several times faster
    than stacking single examples; an empty list of indices gives an empty batch of the right shape.

    Args:
        inputs: (N, ...), in any number type; kept as it is and made float32 batch by batch.
        targets: (N, ...), for classes integers.
        divisor: What the inputs are divided by, e.g. 255 for bytes that shall lie in [0, 1].
    """

    def __init__(self, inputs: Tensor, targets: Tensor, *, divisor: float = 1.0) -> None:
        assert len(inputs) == len(targets)
        self.inputs = inputs
        self.targets = targets
        self.divisor = divisor

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> Batch:
        return self.inputs[index].float() / self.divisor, self.targets[index]

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        chosen = torch.as_tensor(indices, dtype=torch.long)
        # For bytes many times faster than indexing; what it gives is a copy, so it may be divided in place.
        inputs = self.inputs.index_select(0, chosen).float().div_(self.divisor)
        return inputs, self.targets.index_select(0, chosen)


def collate(gathered: Batch | list[Batch]) -> Batch:
    """Leaves a batch that `Examples` has gathered as it is; stacks a list of single examples."""
    if isinstance(gathered, tuple):
        return gathered
    return torch.stack([inputs for inputs, _ in gathered]), torch.stack([target for _, target in gathered])
