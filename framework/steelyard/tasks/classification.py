"""Classification of anything by any model that gives logits."""

from collections.abc import Iterator
from typing import Any, Literal, final

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from steelyard.data.examples import Batch
from steelyard.measurement import Artefact, Better, Measurement
from steelyard.optimisation.configured import MakeOptimizer, MakeScheduler, configured
from steelyard.problem import refuse
from steelyard.runs import Run
from steelyard.statistics import mean_interval, proportion
from steelyard.tasks.tally import Tally


@final
class Classification(LightningModule):
    """Cross-entropy on batches (inputs, targets); logs loss and accuracy once an epoch.

    The loss of a batch is the mean of the losses of its examples plus a term of the weights alone, so the loss of one
    example means the same in a batch of any size. L1 is part of every example's loss: a method that clips the gradient
    of each example clips it along, which keeps its guarantee and weakens the pull towards zero. Where that matters,
    take `optimizer.weight_decay`, which acts after the gradient is made.

    Args:
        model: Any module from inputs (B, ...) to logits (B, classes).
        optimizer: Called with the parameters that are to be trained, e.g. a partial made by `_partial_: true`.
        classes: Number of classes.
        scheduler: A schedule of `steelyard.optimisation`, or anything called with the optimizer; None for a constant
            learning rate.
        interval: What a scheduler that is none of ours counts.
        label_smoothing: Part of the target's probability that is spread over all classes.
        mixup: Both parameters of the Beta distribution by which pairs of examples are mixed in training; 0 for none.
            A method that looks at one example at a time sees each mixed with itself, that is not at all.
        l1: Weight of the sum of the absolute values of all weights (biases and norm layers' scales excepted).
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        optimizer: MakeOptimizer,
        classes: int,
        scheduler: MakeScheduler | None = None,
        interval: Literal["epoch", "step"] = "epoch",
        label_smoothing: float = 0.0,
        mixup: float = 0.0,
        l1: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise refuse(
                f"task.label_smoothing is {label_smoothing:g}, must be in [0, 1)", fix="task.label_smoothing=0.1"
            )
        if mixup < 0:
            raise refuse(f"task.mixup is {mixup:g}, must be at least 0", fix="task.mixup=0.2")
        if l1 < 0:
            raise refuse(f"task.l1 is {l1:g}, must be at least 0", fix="task.l1=0")
        self.model = model
        self.make_optimizer = optimizer
        self.make_scheduler = scheduler
        self.interval: Literal["epoch", "step"] = interval
        self.label_smoothing = label_smoothing
        self.mixup = mixup
        self.l1 = l1
        self.train_tally = Tally(classes=classes)
        self.val_tally = Tally(classes=classes)
        self.test_tally = Tally(classes=classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (B, classes)."""
        return self.model(inputs)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss that is minimised: smoothed cross-entropy on mixed examples, and L1."""
        del batch_idx
        inputs, targets = batch
        if self.mixup:
            logits, loss = self._mixed(inputs, targets)
        else:
            logits = self(inputs)
            loss = cross_entropy(logits, targets, label_smoothing=self.label_smoothing)
        if self.l1:
            loss = loss + self.l1 * absolute_weights(self.model)
        self.train_tally.add(loss=loss, logits=logits, targets=targets)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Plain cross-entropy and accuracy."""
        del batch_idx
        self._count(batch, self.val_tally)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Plain cross-entropy and accuracy."""
        del batch_idx
        self._count(batch, self.test_tally)

    def on_train_epoch_end(self) -> None:
        """Logs `train_loss` and `train_accuracy`."""
        self._log("train", self.train_tally)

    def on_validation_epoch_end(self) -> None:
        """Logs `val_loss` and `val_accuracy`."""
        self._log("val", self.val_tally)

    def on_test_epoch_end(self) -> None:
        """Logs `test_loss` and `test_accuracy`."""
        self._log("test", self.test_tally)

    def configure_optimizers(self) -> Any:
        """The optimizer over the parameters that require a gradient, and its scheduler.

        Raises:
            Refused: If the optimizer or the scheduler does not take its options.
        """
        return configured(self, optimizer=self.make_optimizer, scheduler=self.make_scheduler, interval=self.interval)

    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """Accuracy and loss on the test split, and the accuracy on the training split beside it."""
        for name, split, of in (("accuracy", "test", "test"), ("train_accuracy", "train", "training")):
            predictions = run.predict(split)
            right = int(predictions.marks.sum())
            yield proportion(
                name,
                right,
                len(predictions.marks),
                better=Better.HIGHER,
                split=split,
                meaning=f"share of the {of} examples that the model decides right",
            )
        losses = run.predict("test").losses
        yield Measurement(
            name="loss",
            value=float(losses.mean()),
            better=Better.LOWER,
            unit="nats",
            interval=mean_interval(losses)[1],
            count=len(losses),
            split="test",
            note="cross-entropy without smoothing and L1; the interval is Student's",
            meaning="how little the model believed in the right answer, on average; 0 is certain and always right",
        )

    def _mixed(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and loss of convex combinations of pairs (Zhang et al. 2018)."""
        concentration = torch.full((len(inputs),), self.mixup, device=inputs.device)
        share = torch.distributions.Beta(concentration, concentration).sample()
        partner = torch.randperm(len(inputs), device=inputs.device)
        weight = share.reshape(-1, *[1] * (inputs.dim() - 1))
        logits = self(weight * inputs + (1 - weight) * inputs[partner])
        own, other = (
            cross_entropy(logits, wanted, label_smoothing=self.label_smoothing, reduction="none")
            for wanted in (targets, targets[partner])
        )
        return logits, (share * own + (1 - share) * other).mean()

    def _count(self, batch: Batch, tally: Tally) -> None:
        inputs, targets = batch
        logits = self(inputs)
        tally.add(loss=cross_entropy(logits, targets), logits=logits, targets=targets)

    def _log(self, split: str, tally: Tally) -> None:
        # Lightning resets what it logs.
        self.log(f"{split}_loss", tally.loss)
        self.log(f"{split}_accuracy", tally.accuracy, prog_bar=split == "val")


def absolute_weights(model: nn.Module) -> Tensor:
    """The sum of the absolute values of all weight matrices and kernels that are trained."""
    weights = [p.abs().sum() for p in model.parameters() if p.requires_grad and p.dim() > 1]
    return torch.stack(weights).sum() if weights else torch.zeros(())
