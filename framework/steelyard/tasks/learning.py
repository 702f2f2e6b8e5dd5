"""What the tasks share: loss, regularisation, optimizer, schedule, and what is logged."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from steelyard.optimisation.configured import MakeOptimizer, MakeScheduler, configured
from steelyard.problem import check_least, refuse
from steelyard.tasks.tally import Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What a task thinks of its own output on a batch.

    Attributes:
        losses: Of each example (B,), in nats; none knows anything of the others in the batch.
        marks: How right each decision is (B,), from 0 to 1; None where a decision takes more than one look.
    """

    losses: Tensor
    marks: Tensor | None = None


class Learning(LightningModule, ABC):
    """A task whose loss is the mean of the losses of its examples; logs `<split>_loss` once an epoch.

    With L1 the training loss has a term of the weights alone, so that the loss of one example means the same in a batch
    of any size. It is part of every example's loss: a method that clips the gradient of each example clips it along,
    which keeps its guarantee and weakens the pull towards zero. Where that matters, take `optimizer.weight_decay`,
    which acts after the gradient is made.

    Args:
        model: What is trained.
        optimizer: Called with the parameters that require a gradient, e.g. a partial made by `_partial_: true`.
        scheduler: A schedule of `steelyard.optimisation`, or anything called with the optimizer; None for a constant
            learning rate.
        interval: What a scheduler that is none of ours counts.
        l1: Weight of the sum of the absolute values of all weights (biases and norm layers' scales excepted).

    Raises:
        Refused: If `l1` is below 0.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        optimizer: MakeOptimizer,
        scheduler: MakeScheduler | None = None,
        interval: Literal["epoch", "step"] = "epoch",
        l1: float = 0.0,
    ) -> None:
        super().__init__()
        check_least("task.l1", l1, 0)
        self.model = model
        self.make_optimizer = optimizer
        self.make_scheduler = scheduler
        self.interval: Literal["epoch", "step"] = interval
        self.l1 = l1
        self.train_tally = Tally()
        self.val_tally = Tally()
        self.test_tally = Tally()

    @abstractmethod
    def example_losses(self, batch: Any) -> Tensor:
        """The loss of each example of a batch: shape (B,), in nats; it knows nothing of the others in the batch."""

    def judge(self, batch: Any, *, learning: bool) -> Judged:
        """The losses of a batch, and where one look at the output tells it how right each decision is.

        Args:
            batch: As the data module makes it.
            learning: While training, losses may be regularised (smoothed labels, mixed examples); else they are plain.
        """
        del learning
        return Judged(losses=self.example_losses(batch))

    @final
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The mean over the examples, with L1."""
        del batch_idx
        judged = self.judge(batch, learning=True)
        losses = judged.losses + self.l1 * absolute_weights(self.model) if self.l1 else judged.losses
        self.train_tally.add(losses=losses, marks=judged.marks)
        return losses.mean()

    @final
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Counts the plain losses."""
        del batch_idx
        self._count(batch, self.val_tally)

    @final
    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Counts the plain losses."""
        del batch_idx
        self._count(batch, self.test_tally)

    @final
    def on_train_epoch_end(self) -> None:
        """Logs `train_loss`, what was minimised, and `train_accuracy` where it is known."""
        self._log("train", self.train_tally)

    @final
    def on_validation_epoch_end(self) -> None:
        """Logs `val_loss`, and `val_accuracy` where it is known."""
        self._log("val", self.val_tally)

    @final
    def on_test_epoch_end(self) -> None:
        """Logs `test_loss`, and `test_accuracy` where it is known."""
        self._log("test", self.test_tally)

    @final
    def configure_optimizers(self) -> Any:
        """The optimizer over the parameters that require a gradient, and its scheduler.

        Raises:
            Refused: If the optimizer or the scheduler does not take its options.
        """
        return configured(self, optimizer=self.make_optimizer, scheduler=self.make_scheduler, interval=self.interval)

    def _count(self, batch: Any, tally: Tally) -> None:
        judged = self.judge(batch, learning=False)
        tally.add(losses=judged.losses, marks=judged.marks)

    def _log(self, split: str, tally: Tally) -> None:
        # Lightning resets what it logs.
        self.log(f"{split}_loss", tally.loss, prog_bar=split == "val")
        if tally.accuracy.update_called:
            self.log(f"{split}_accuracy", tally.accuracy, prog_bar=split == "val")


def absolute_weights(model: nn.Module) -> Tensor:
    """The sum of the absolute values of all weight matrices and kernels that are trained."""
    weights = [p.abs().sum() for p in model.parameters() if p.requires_grad and p.dim() > 1]
    return torch.stack(weights).sum() if weights else torch.zeros(())


def check_smoothing(value: float) -> float:
    """`task.label_smoothing` as it is.

    Raises:
        Refused: If it is no fraction below 1.
    """
    if not 0 <= value < 1:
        raise refuse(f"task.label_smoothing is {value:g}, must be in [0, 1)", fix="task.label_smoothing=0.1")
    return value
