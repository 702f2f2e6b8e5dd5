"""Means over the examples of a split."""

from typing import Any, final

import torch
from torch import Tensor, nn
from torchmetrics import Metric


@final
class Mean(Metric):
    """The mean of a number that each example has, each counted once, whatever pieces a batch comes in.

    torchmetrics' own MeanMetric either waits for the GPU in each step to look for NaN, or (1.9.0, nan_strategy
    "disable") takes a batch of one for as much as a full one.
    """

    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        untyped: Any = self
        for name in ("total", "count"):
            untyped.add_state(name, torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, values: Tensor) -> None:
        """Counts a number (B,) of each example."""
        self.total += values.sum()
        self.count += len(values)

    def compute(self) -> Tensor:
        """The mean over all of them."""
        return self.total / self.count


@final
class Tally(nn.Module):
    """What is fed in each step and logged once an epoch: logging in each step costs what a small model feels."""

    def __init__(self) -> None:
        super().__init__()
        self.loss = Mean()
        self.accuracy = Mean()

    def add(self, *, losses: Tensor, marks: Tensor | None) -> None:
        """Counts a batch, or a piece of one.

        Args:
            losses: Of its examples (B,).
            marks: How right each decision is (B,), from 0 to 1; None where that is not known in training.
        """
        self.loss.update(losses.detach())
        if marks is not None:
            self.accuracy.update(marks.detach())
