"""Faults on purpose, as callbacks that a run makes by name."""

import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback


class Poison(Callback):
    """Makes the first row of some batches not finite.

    Args:
        steps: Of these, counted from 0.
        since: And all from this one on.
        value: What it puts in.
        epoch: Before this one it does nothing.
        rank: Only there; None for everywhere.
    """

    def __init__(
        self,
        *,
        steps: Collection[int] = (),
        since: int | None = None,
        value: float = math.nan,
        epoch: int = 0,
        rank: int | None = None,
    ) -> None:
        self._steps, self._since, self._value, self._epoch, self._rank = {*steps}, since, value, epoch, rank

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if self._rank not in (None, trainer.global_rank):
            return
        late = self._since is not None and trainer.global_step >= self._since
        if trainer.current_epoch >= self._epoch and (late or trainer.global_step in self._steps):
            batch[0].view(len(batch[0]), -1)[0] = self._value


class Ruin(Callback):
    """Makes a weight not finite at the end of an epoch, as a fault of the memory would.

    Args:
        epoch: Which one.
    """

    def __init__(self, *, epoch: int) -> None:
        self._epoch = epoch

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == self._epoch:
            with torch.no_grad():
                next(pl_module.parameters()).view(-1)[0] = math.inf


class Hasten(Callback):
    """Multiplies the learning rate once.

    Args:
        step: Before this one.
        times: By this.
    """

    def __init__(self, *, step: int, times: float = 100.0) -> None:
        self._step, self._times = step, times

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self._step:
            for group in trainer.optimizers[0].param_groups:
                group["lr"] *= self._times


class Halt(Callback):
    """Ends a run once, by an exception; not again when it is resumed.

    Args:
        hook: In which hook.
        step: From this step on.
    """

    def __init__(self, *, hook: str, step: int) -> None:
        self._step = step
        setattr(self, hook, self._halt)

    def _halt(self, trainer: Any, *_: Any) -> None:
        mark = Path(trainer.default_root_dir) / "halted"
        if trainer.global_step >= self._step and not trainer.sanity_checking and not mark.exists():
            mark.touch()
            raise OSError("halted")
