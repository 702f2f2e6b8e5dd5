"""Weights as they were while training, a bounded number of them."""

from dataclasses import dataclass
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from steelyard.attachment import Attachment


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Weights as they were.

    Attributes:
        epoch: After so many.
        rate: The learning rate then.
        weights: By name, on the CPU.
    """

    epoch: int
    rate: float
    weights: dict[str, Tensor]


class Keeper(Attachment):
    """Keeps the weights of every epoch, then of every second, fourth, ... as they become too many.

    It reads, and changes nothing of the training.

    Args:
        most: How many to keep at most.

    Attributes:
        kept: In the order of the epochs.
    """

    def __init__(self, *, most: int) -> None:
        self._most = most
        self._epochs, self._stride = 0, 1
        self.kept: list[Kept] = []

    def state_dict(self) -> dict[str, Any]:
        """All that was kept, so that a resumed run explains what one in one piece does; checkpoints grow by as much."""
        kept = [{"epoch": one.epoch, "rate": one.rate, "weights": one.weights} for one in self.kept]
        return {"epochs": self._epochs, "stride": self._stride, "kept": kept}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self._epochs, self._stride = state_dict["epochs"], state_dict["stride"]
        self.kept = [Kept(**one) for one in state_dict["kept"]]

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keeps the weights."""
        self._epochs += 1
        if self._epochs % self._stride:
            return
        groups: list[dict[str, Any]] = trainer.optimizers[0].param_groups if trainer.optimizers else []
        weights = {name: tensor.detach().to("cpu", copy=True) for name, tensor in pl_module.state_dict().items()}
        rate = float(groups[0]["lr"]) if groups else 1.0
        self.kept.append(Kept(epoch=self._epochs, rate=rate, weights=weights))
        if len(self.kept) > self._most:
            self.kept, self._stride = self.kept[1::2], 2 * self._stride
