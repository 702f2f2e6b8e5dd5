"""Every plugin asked in the middle of training: what is trained is what would have been trained without it."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn

from helpers.bits import same
from helpers.looks import LOOKS
from small_runs import IMAGES, Points, bits, flags, streams, train
from steelyard.draft import Draft
from steelyard.measurement import Artefact, Measurement
from steelyard.measuring import looking
from steelyard.plugin import Plugin
from steelyard.runs import Run
from steelyard.tasks import Classification
from steelyard_stability import TrainGuard

Probe = Callable[[Run], Iterator[Measurement | Artefact]]
EVERY, EPOCHS = 3, 2
PICTURES = torch.rand(24, 1, 8, 8, generator=torch.Generator().manual_seed(0))
TARGETS = (PICTURES.mean(dim=(1, 2, 3)) > 0.5).long()


def tender() -> LightningModule:
    """Everything that a look could disturb: statistics of batches, dropout, momentum."""
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3), nn.Linear(108, 2)
    )
    return Classification(model=model, optimizer=partial(torch.optim.Adam, lr=0.01), classes=2)


@dataclass
class Diary(Callback):
    """Asks at every third step, between its gradients and their use, and writes down what there is after each."""

    probe: Probe | None = None
    pages: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    said: list[Measurement] = field(default_factory=list[Measurement])

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.probe is not None and trainer.global_step % EVERY == 0:
            run = present(pl_module)
            with looking(pl_module):
                self.said += [row for row in self.probe(run) if isinstance(row, Measurement)]
        slopes = {name: weight.grad for name, weight in pl_module.named_parameters()}
        self.pages.append({"gradients": copy.deepcopy(slopes), "flags": flags(pl_module), "streams": streams()})

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        state = [optimizer.state_dict() for optimizer in trainer.optimizers]
        self.pages.append({"weights and buffers": bits(pl_module), "optimizer": copy.deepcopy(state)})


def data() -> Points:
    return Points(PICTURES, TARGETS, batch_size=8)


def present(task: LightningModule) -> Run:
    """The run as it is in the middle of a fit: nobody has put the task into eval mode."""
    return Run(task=task, data=data(), adapter=IMAGES, seed=0, device=torch.device("cpu"), trained=True, folder=Path())


def probe(plugin: Plugin) -> Probe:
    draft = Draft(task=tender(), data=data(), trainer={}, adapter=IMAGES, seed=0)
    return plugin.attach(draft).measure


def written(by: Probe | None) -> Diary:
    diary = Diary(by)
    train(tender, data(), callbacks=[diary], epochs=EPOCHS)
    return diary


plain: Callable[[], Diary] = cache(lambda: written(None))


def changed(asked: Diary) -> set[str]:
    assert len(asked.pages) == len(plain().pages) == 2 * 3 * EPOCHS
    pairs = zip(asked.pages, plain().pages, strict=True)
    return {what for page, clean in pairs for what in clean if not same(page[what], clean[what])}


@pytest.mark.parametrize("name", LOOKS)
def test_a_probe_every_few_steps_changes_no_bit_of_the_training(name: str) -> None:
    asked = written(probe(LOOKS[name]))

    assert changed(asked) == set()
    assert asked.said


def test_a_guard_at_work_that_is_asked_every_few_steps_changes_no_bit() -> None:
    draft = Draft(task=tender(), data=data(), trainer={}, adapter=IMAGES, seed=0)
    guard = TrainGuard(policy="rewind", every=2).attach(draft)
    asked = Diary(guard.measure)
    train(tender, data(), callbacks=[guard, asked], epochs=EPOCHS)

    assert changed(asked) == set()
    assert EVERY in {row.count for row in asked.said}


def test_a_probe_that_touches_the_run_is_noticed() -> None:
    def careless(run: Run) -> Iterator[Measurement]:
        run.task(PICTURES).sum().backward()
        yield Measurement(name="nothing", value=0.0)

    assert {"gradients", "optimizer", "weights and buffers"} <= changed(written(careless))
