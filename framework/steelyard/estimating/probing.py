"""A few real steps of a training, for their time."""

import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any, final

import torch
from omegaconf import DictConfig
from pytorch_lightning import Callback, LightningModule, Trainer, seed_everything
from typing_extensions import override

from steelyard import assembly, building, training
from steelyard.devices import wait_for
from steelyard.estimating._shapes import Shape, shape_of
from steelyard.estimating.estimate import Estimate
from steelyard.estimating.forecasting import forecaster
from steelyard.preflight import preflight
from steelyard.selection import plugins_of

STEPS = 5
"""Steps that are timed at least; one comes before them, which is slower."""
ENOUGH, MOST = 0.5, 100
"""CPU seconds of batches after which there is no need for more, and batches: short steps are timed more often."""
VALIDATED = 3
"""Batches of validation that are timed, at most, and the first of them only if it is the only one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What a few steps took.

    Attributes:
        first: Seconds of the first batch, with what is made only once.
        seconds: Of a batch, the median of those after the first.
        cpu: CPU seconds of a batch in this process, the median of those after the first.
        first_cpu: CPU seconds of the first batch.
        steps: Batches that were timed.
        validation: Batches of validation in the whole training, about.
        validating: Seconds of one of them.
        validating_cpu: The same in CPU seconds.
        epochs: Of the whole training; 0 where nobody can tell.
        epoch: Seconds of one of them that are neither its batches nor those of its validation.
        epoch_cpu: The same in CPU seconds.
    """

    first: float
    seconds: float
    cpu: float
    first_cpu: float
    steps: int
    validation: float = 0.0
    validating: float = 0.0
    validating_cpu: float = 0.0
    epochs: int = 0
    epoch: float = 0.0
    epoch_cpu: float = 0.0

    def training(self, batches: int) -> float:
        """Seconds of a training of so many batches, with its validation."""
        rest = self.validation * self.validating + self.epochs * self.epoch
        return self.first + (batches - 1) * self.seconds + rest

    def training_cpu(self, batches: int) -> float:
        """CPU seconds of a training of so many batches, with its validation."""
        rest = self.validation * self.validating_cpu + self.epochs * self.epoch_cpu
        return self.first_cpu + (batches - 1) * self.cpu + rest


def probe(config: DictConfig, estimate: Estimate | None = None) -> Probed:
    """Trains six batches of a config or more with all its plugins, validates a few, and throws the result away.

    Where batches differ in shape, the times are those of the mean batch, by the operations of the estimate.

    It trains in this process: call it in one of its own (`side_by_side`), so that nothing of it stays.

    Raises:
        Refused: For what a run would be refused for.
    """
    selected = plugins_of(config)
    data = building.make_data(config)
    seed_everything(int(config.seed), workers=True, verbose=False)
    draft = building.make_draft(config, data)
    draft.forecast = forecaster(selected, draft)
    preflight(selected, draft)
    attachments = assembly.attach(selected, draft)
    watch = _Watch(estimate, draft.adapter.size)
    quick = config.copy()
    quick.checkpoints = "none"
    draft.trainer.update(
        # A run validates two batches before it begins, which takes what only the first validation takes.
        limit_val_batches=_few(draft.trainer.get("limit_val_batches")),
        enable_model_summary=False,
        callbacks=[*building.plain_list(draft.trainer.get("callbacks")), watch],
    )
    # A progress bar takes its time in a run, so it has its time here, where nobody shall see it.
    with tempfile.TemporaryDirectory() as scratch, Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        trainer = training.make_trainer(quick, draft, selected, attachments, Path(scratch))
        training.fit(trainer, draft, None)
    epochs = _epochs(config, trainer)
    return watch.probed(epochs=max(0, epochs or 0), validation=_validation(config, data, epochs))


def validated(*, batches: float, epochs: int | None, every: int | None) -> float:
    """Batches of validation in a whole training, about; 0 where nobody can tell."""
    if batches in (0.0, float("inf")) or not epochs or epochs < 0 or not every:
        return 0.0
    return batches * (epochs // every)


def reached(epochs: int | None, *, batches: int | None, epoch: float) -> int | None:
    """Whole epochs of a training, which may end before its last one.

    Args:
        epochs: At most; None or negative for any number.
        batches: Of the training; None where its end is open.
        epoch: Batches in an epoch.
    """
    if batches is None or not 0 < epoch < float("inf"):
        return epochs
    whole = int(batches // epoch)
    return whole if epochs is None or epochs < 0 else min(epochs, whole)


def _few(limit: Any) -> int | float:
    """Of the batches of validation that the Trainer is told to take."""
    if limit is None or isinstance(limit, float):
        return VALIDATED if limit is None or limit else 0
    return min(int(limit), VALIDATED)


def _epochs(config: DictConfig, trainer: Trainer) -> int | None:
    settings: Any = config.get("trainer") or {}
    most = settings.get("max_steps")
    trained = None if most in (None, -1) else int(most) * trainer.accumulate_grad_batches
    return reached(settings.get("max_epochs"), batches=trained, epoch=float(trainer.num_training_batches))


def _validation(config: DictConfig, data: Any, epochs: int | None) -> float:
    settings: Any = config.get("trainer") or {}
    limit = settings.get("limit_val_batches")
    try:
        batches = float(len(data.val_dataloader()))
    except Exception:  # no validation split, or one of unknown length
        return 0.0
    if limit is not None:
        batches = batches * limit if isinstance(limit, float) else min(batches, float(limit))
    return validated(batches=batches, epochs=epochs, every=settings.get("check_val_every_n_epoch", 1))


@dataclass(frozen=True, slots=True)
class _Spent:
    """Seconds by both clocks."""

    wall: float
    cpu: float


@final
class _Watch(Callback):
    """Reads two clocks at each batch, and ends the training after a few."""

    def __init__(self, estimate: Estimate | None, size: Callable[[Any], int]) -> None:
        self._estimate, self._size = estimate, size
        self._shapes: list[Shape] = []
        self._each = 1
        self._device = torch.device("cpu")
        self._since = _now(self._device)
        self._trained: list[_Spent] = []
        self._validated: list[_Spent] = []
        self._openings: list[_Spent] = []
        self._rest: list[_Spent] = []
        self._epochs = 0

    def probed(self, *, epochs: int = 0, validation: float = 0.0) -> Probed:
        if not self._trained:
            raise RuntimeError("no batch came: the training data holds none")
        first, timed = self._trained[0], self._trained[1:] or self._trained
        looked = self._validated or self._openings
        validating = _Spent(_mean(one.wall for one in looked), _mean(one.cpu for one in looked))
        # The first batch of a validation takes what is made once for each.
        more = [_Spent(one.wall - validating.wall, one.cpu - validating.cpu) for one in self._openings]
        rest = [*self._rest, *more]
        return Probed(
            first=first.wall,
            seconds=self._usual([one.wall for one in timed]),
            cpu=self._usual([one.cpu for one in timed]),
            first_cpu=first.cpu,
            steps=len(timed),
            validation=validation,
            validating=validating.wall,
            validating_cpu=validating.cpu,
            epochs=epochs,
            epoch=max(0.0, sum(one.wall for one in rest)) / max(1, self._epochs),
            epoch_cpu=max(0.0, sum(one.cpu for one in rest)) / max(1, self._epochs),
        )

    def _usual(self, timed: Sequence[float]) -> float:
        """Of a batch like the mean one: the median, so that what is done only once is no part of it.

        Where several batches make a step, one of them has the optimizer's part, so as many as make one count together.
        """
        each = min(self._each, len(timed))
        shapes = self._shapes[1:] or self._shapes
        found: list[float] = []
        for at in range(0, len(timed) - each + 1, each):
            share = 1.0 if self._estimate is None else self._estimate.share(shapes[at : at + each])
            found.append(mean(timed[at : at + each]) / share)
        return median(found)

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._each, self._device = trainer.accumulate_grad_batches, pl_module.device
        self._since = _now(self._device)

    @override
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0 and self._trained:
            self._rest.append(self._look())

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._trained.append(self._look())
        self._shapes.append(shape_of(batch, rows=self._size(batch)))
        timed = self._trained[1:]
        if len(timed) >= MOST or (len(timed) >= STEPS and sum(one.cpu for one in timed) >= ENOUGH):
            trainer.should_stop = True
            # No minimum of the user's may outvote it.
            trainer.fit_loop.min_epochs, trainer.fit_loop.epoch_loop.min_steps = None, None

    @override
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self._rest.append(self._look())

    @override
    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if not trainer.sanity_checking:
            (self._validated if batch_idx else self._openings).append(self._look())

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self._rest.append(self._look())

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._rest.append(self._look())
        self._epochs += 1

    def _look(self) -> _Spent:
        """Since the last look."""
        before, self._since = self._since, _now(self._device)
        return _Spent(self._since.wall - before.wall, self._since.cpu - before.cpu)


def _mean(values: Iterable[float]) -> float:
    """0 of nothing."""
    found = [*values]
    return mean(found) if found else 0.0


def _now(device: torch.device) -> _Spent:
    wait_for(device)
    spent = resource.getrusage(resource.RUSAGE_SELF)
    return _Spent(time.perf_counter(), spent.ru_utime + spent.ru_stime)
