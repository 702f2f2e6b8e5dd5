"""What the tasks share: the optimizer, its schedule, and the mean loss of each split."""

from abc import ABC, abstractmethod
from typing import Any, Literal, final

from pytorch_lightning import LightningModule
from torch import Tensor, nn

from steelyard.optimisation.configured import MakeOptimizer, MakeScheduler, configured
from steelyard.tasks.tally import MeanLoss


class Learning(LightningModule, ABC):
    """A task whose loss is the mean of the losses of its examples; logs `<split>_loss` once an epoch.

    Args:
        model: What is trained.
        optimizer: Called with the parameters that require a gradient.
        scheduler: A schedule of `steelyard.optimisation`, or anything called with the optimizer; None for a constant
            learning rate.
        interval: What a scheduler that is none of ours counts.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        optimizer: MakeOptimizer,
        scheduler: MakeScheduler | None = None,
        interval: Literal["epoch", "step"] = "epoch",
    ) -> None:
        super().__init__()
        self.model = model
        self.make_optimizer = optimizer
        self.make_scheduler = scheduler
        self.interval: Literal["epoch", "step"] = interval
        self.train_mean = MeanLoss()
        self.val_mean = MeanLoss()
        self.test_mean = MeanLoss()

    @abstractmethod
    def example_losses(self, batch: Any) -> Tensor:
        """The loss of each example of a batch: shape (B,), in nats; it knows nothing of the others in the batch."""

    @final
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The mean over the examples."""
        del batch_idx
        return self._count(batch, self.train_mean)

    @final
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Counts the losses."""
        del batch_idx
        self._count(batch, self.val_mean)

    @final
    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Counts the losses."""
        del batch_idx
        self._count(batch, self.test_mean)

    @final
    def on_train_epoch_end(self) -> None:
        """Logs `train_loss`; Lightning resets what it logs."""
        self.log("train_loss", self.train_mean)

    @final
    def on_validation_epoch_end(self) -> None:
        """Logs `val_loss`."""
        self.log("val_loss", self.val_mean, prog_bar=True)

    @final
    def on_test_epoch_end(self) -> None:
        """Logs `test_loss`."""
        self.log("test_loss", self.test_mean)

    @final
    def configure_optimizers(self) -> Any:
        """The optimizer over the parameters that require a gradient, and its scheduler.

        Raises:
            Refused: If the optimizer does not take its options.
        """
        return configured(self, optimizer=self.make_optimizer, scheduler=self.make_scheduler, interval=self.interval)

    def _count(self, batch: Any, mean: MeanLoss) -> Tensor:
        losses = self.example_losses(batch)
        loss = losses.mean()
        mean.update(loss.detach(), len(losses))
        return loss
