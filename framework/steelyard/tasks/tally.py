"""Loss and accuracy of one split over an epoch."""

from typing import Any, final

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy


@final
class MeanLoss(Metric):
    """The mean loss of all examples, each counted once.

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

    def update(self, mean: Tensor, count: int) -> None:
        """Counts the mean loss of `count` examples."""
        self.total += mean * count
        self.count += count

    def compute(self) -> Tensor:
        """The mean over all of them."""
        return self.total / self.count


@final
class Tally(nn.Module):
    """Two metrics that are fed in each step and logged once an epoch.

    Logging in each step would cost several times as much, which a small model feels. What is counted weighs each
    example once, whatever pieces a batch comes in.

    Args:
        classes: Number of classes.
    """

    def __init__(self, *, classes: int) -> None:
        super().__init__()
        self.loss = MeanLoss()
        self.accuracy: Any = MulticlassAccuracy(classes, average="micro", validate_args=False)

    def add(self, *, loss: Tensor, logits: Tensor, targets: Tensor) -> None:
        """Counts a batch, or a piece of one.

        Args:
            loss: Its mean.
            logits: (B, classes).
            targets: (B,).
        """
        self.loss.update(loss.detach(), len(targets))
        self.accuracy.update(logits.detach(), targets)
