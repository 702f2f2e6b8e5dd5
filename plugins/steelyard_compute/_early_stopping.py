"""The live half of `compute=early_stopping`."""

from collections.abc import Iterator
from typing import Any, final

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping

from steelyard.attachment import Attachment
from steelyard.measurement import Artefact, Measurement, Status
from steelyard.runs import Run
from steelyard_compute import early_stopping


@final
class EarlyStoppingAttachment(Attachment):
    """Lightning's own callback under our key, and what became of it."""

    def __init__(self, plugin: early_stopping.EarlyStopping) -> None:
        self._plugin = plugin
        self._callback = EarlyStopping(
            monitor=plugin.monitor, mode=plugin.mode, patience=plugin.patience, min_delta=plugin.min_delta
        )
        self._epochs = 0

    def state_dict(self) -> dict[str, Any]:
        """The callback's state, and the epochs so far."""
        return {"callback": self._callback.state_dict(), "epochs": self._epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self._callback.load_state_dict(state_dict["callback"])
        self._epochs = state_dict["epochs"]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """The callback decides when it looks."""
        self._callback.setup(trainer, pl_module, stage)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The callback looks."""
        self._callback.on_validation_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The callback looks, where there is no validation."""
        self._epochs = trainer.current_epoch + 1
        self._callback.on_train_epoch_end(trainer, pl_module)

    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """How long it trained, and why no longer."""
        meaning = "epochs that were trained"
        if not run.trained:
            yield Measurement(
                name="epochs",
                status=Status.SKIPPED,
                unit="epochs",
                note="there was no training in this run",
                meaning=meaning,
            )
            return
        plugin, stopped = self._plugin, self._callback.stopped_epoch
        best = float(self._callback.best_score)
        waited = f"{plugin.monitor} had not got better than {best:.4g} for {plugin.patience} validations"
        yield Measurement(
            name="epochs",
            value=float(self._epochs),
            unit="epochs",
            note=f"stopped: {waited}" if stopped else f"not stopped early; best {plugin.monitor} {best:.4g}",
            meaning=meaning,
        )
