"""Small trainings under a train guard, for its tests."""

import copy
import functools
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule
from torch import Tensor, nn

import small_runs
from small_runs import Points, bits, parted, same_bits
from steelyard.tasks import Classification
from steelyard_stability import TrainGuard
from steelyard_stability._faults import Fault
from steelyard_stability._guard_book import Book
from steelyard_stability._train_guard import TrainGuardAttachment

EPOCHS, ROWS = 5, 640
PLENTY = {"share": 1.0}


def guarded(**options: Any) -> TrainGuardAttachment:
    made = TrainGuardAttachment(TrainGuard(**options), private=False)
    made.key = "stability.train_guard"
    return made


train = partial(small_runs.train, limit_val_batches=0)


@functools.cache
def unharmed(make: Callable[[], LightningModule]) -> float:
    """The accuracy without faults and without a guard."""
    return accuracy(train(make, data(), epochs=EPOCHS))


def book(guard: TrainGuardAttachment) -> Book:
    return Book.of(guard.state_dict()["book"])


def faults(guard: TrainGuardAttachment) -> list[Fault]:
    return book(guard).faults


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 2))


def task(**options: Any) -> Classification:
    return Classification(model=model(), optimizer=partial(torch.optim.Adam, lr=0.01), classes=2, **options)


def data() -> Points:
    return parted(ROWS)


def accuracy(trained: LightningModule) -> float:
    inputs, targets = data()._data.tensors
    trained.eval()
    with torch.no_grad():
        return float((trained(inputs).argmax(1) == targets).float().mean())


class Watch(Callback):
    """Looks after the guard, at every step.

    Attributes:
        changed: Steps after which weights, buffers or the state of the optimizer were not those before.
        broken: Steps after which one of those was not finite.
    """

    def __init__(self) -> None:
        self.changed: list[int] = []
        self.broken: list[int] = []
        self._before: Any = None

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._step, self._before = trainer.global_step, self._all(trainer, pl_module)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        now = self._all(trainer, pl_module)
        if not same_bits(now, self._before):
            self.changed.append(self._step)
        if not all(bool(torch.isfinite(value).all()) for value in now.values()):
            self.broken.append(self._step)

    def _all(self, trainer: Any, task: LightningModule) -> dict[str, Tensor]:
        states = trainer.optimizers[0].state_dict()["state"]
        kept = {f"{number}.{name}": value for number, state in states.items() for name, value in state.items()}
        return copy.deepcopy({**bits(task), **kept})
