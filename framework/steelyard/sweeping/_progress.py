"""How far a trial is, told to its sweep a few times a second; and whether it is worth going on."""

import time
from itertools import pairwise
from statistics import median
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn
from typing_extensions import override

from steelyard.stopping import Pruned
from steelyard.sweeping.forked import Send
from steelyard.sweeping.progress import Progressed, Reported

EVERY = 0.25


class Progress(Callback):
    """Reads the Trainer's counters, and a metric after each validation; changes nothing.

    Args:
        send: Where to tell.
        metric: What the sweep compares running trials by; None where it does not.
    """

    def __init__(self, send: Send, metric: str | None = None) -> None:
        self._send, self._told, self._metric = send, 0.0, metric

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.monotonic()
        if now - self._told >= EVERY:
            self._told = now
            epochs = trainer.max_epochs or 0
            epoch = f"epoch {trainer.current_epoch + 1}" + (f" of {epochs}" if epochs > 0 else "")
            self._send(Progressed(share=_share(trainer, batch_idx + 1), doing=epoch))

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._metric is None or trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        found = trainer.callback_metrics.get(self._metric)
        if found is None:
            known = ", ".join(sorted(trainer.callback_metrics)) or "nothing"
            raise ValueError(f"hydra.sweeper.prune={self._metric} is not logged in validation, which logs {known}")
        step, value = trainer.global_step, float(found)
        if self._send.ask(Reported(step=step, value=value)):
            raise Pruned(f"{self._metric} = {value:.4g} after {step} steps was worse than the median")

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._send(Progressed(share=1.0, doing="weighing"))


def _share(trainer: Trainer, batches: int) -> float | None:
    """The part of the training that is done, or None where its end is open."""
    if trainer.max_steps > 0:
        return min(1.0, trainer.global_step / trainer.max_steps)
    if trainer.max_epochs is None or trainer.max_epochs <= 0:
        return None
    per_epoch = trainer.num_training_batches
    return min(1.0, (trainer.current_epoch + batches / max(per_epoch, 1)) / trainer.max_epochs)


class Stopwatch(Callback):
    """Times the training and its steps; changes nothing.

    Attributes:
        seconds: Of the whole training.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._begun = 0.0
        self._ends: list[float] = []

    @property
    def step_seconds(self) -> float:
        """The median time from one step's end to the next's, the first half left out; 0 with fewer than two steps."""
        took = [after - before for before, after in pairwise(self._ends)]
        return median(took[len(took) // 2 :]) if took else 0.0

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begun = time.monotonic()

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._ends.append(time.monotonic())

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seconds = time.monotonic() - self._begun
