"""What the core itself watches during training."""

from collections.abc import Sequence
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from typing_extensions import override

from steelyard import randomness
from steelyard.draft import Draft
from steelyard.preflight import preflight
from steelyard.selection import Selected


class NonFiniteLoss(RuntimeError):
    """The loss became NaN or infinite; no checkpoint was written after it."""


class FiniteLoss(Callback):
    """Ends the run at the first loss that is not finite; Lightning would train on and save the ruined weights.

    On the CPU the look costs microseconds and comes before the backward pass, so that the weights stay as they were. On
    other devices it would wait for the device at every step, so it looks once in `every` steps and before a checkpoint.
    """

    def __init__(self, every: int = 50) -> None:
        self._every = every
        self._bad: Tensor | None = None

    @override
    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        bad = ~torch.isfinite(loss.detach()).all()
        self._bad = bad if self._bad is None else self._bad | bad
        if loss.device.type == "cpu" or trainer.global_step % self._every == 0:
            self._look(trainer)

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._look(trainer)

    def _look(self, trainer: Trainer) -> None:
        if self._bad is not None and bool(self._bad):
            raise NonFiniteLoss(
                f"the loss is not finite at step {trainer.global_step} (epoch {trainer.current_epoch}): "
                "try a smaller optimizer.lr, or trainer.gradient_clip_val=1.0"
            )


class Streams(Callback):
    """Keeps every random stream in the checkpoints, so that a resumed training draws what one in one piece draws.

    The order of the data, dropout and augmentation come from these streams; Lightning starts them anew, and the epoch
    after a checkpoint would have the order of the first one.

    Who asks for the number of steps while the optimizers are made, as a schedule does, makes Lightning begin with the
    loader then: it draws from what the checkpoint holds, and training goes on from there.

    Attributes:
        opening: A callback that comes before all others, whose own draws do not count.
    """

    def __init__(self) -> None:
        self._kept: dict[str, Any] | None = None
        self.opening = _Opening(self)

    @property
    @override
    def state_key(self) -> str:
        return "steelyard.streams"

    @override
    def state_dict(self) -> dict[str, Any]:
        return randomness.states()

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._kept = state_dict
        randomness.restore(state_dict)

    def begun(self) -> None:
        """Notes that the loader has been begun with."""
        if self._kept is not None:
            self._kept = randomness.states()

    @override
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Before the loader of the first epoch is asked for its order.
        if self._kept is not None:
            randomness.restore(self._kept)
            self._kept = None


class _Opening(Callback):
    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    @override
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.train_dataloader is not None:
            self._streams.begun()


class LatePreflight(Callback):
    """Runs preflight again where `configure_model` made layers that it had not seen."""

    def __init__(self, selected: Sequence[Selected], draft: Draft) -> None:
        self._selected, self._draft = selected, draft
        self._seen = _layers(draft.task)

    @override
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if _layers(pl_module) != self._seen:
            preflight(self._selected, self._draft)


def _layers(module: Any) -> list[tuple[str, type[Any]]]:
    return [(name, type(child)) for name, child in module.named_modules()]
