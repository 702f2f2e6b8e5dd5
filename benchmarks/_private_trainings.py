"""The trainings of the private benchmark: without privacy, with it, and by Opacus."""

import gc
import os
import time
from collections.abc import Callable

import torch
from _private_models import ByOpacus, by_opacus
from _private_turns import Turn
from pytorch_lightning import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from private_runs import Examples, Task, fit, make_draft
from steelyard_privacy.dp_sgd import DPSGD

STEPS = int(os.environ.get("STEPS", "24"))
SKIPPED, SOONER, LATER = int(os.environ.get("SKIPPED", "41")), 14, 150
"""Steps that do not count, those of a model whose steps are long, and those of one with convolutions: until nearly all
sizes of a batch have been drawn before."""
FEW, WARM = 6, 3
"""Steps of Opacus, whose steps are long, and those that do not count, of models without convolutions."""
EPOCHS = 20
"""That are planned, of which one is trained, so that the ledger is written to as rarely as in a whole training."""
LIGHTNING = {"max_epochs": EPOCHS, "log_every_n_steps": 50}


class Clock:
    """Notes the CPU time and the number of examples of each step."""

    def __init__(self, steps: int, skipped: int) -> None:
        self.steps, self.skipped = steps, skipped
        self.times: list[float] = []
        self.counts: list[int] = []

    def step(self, count: int) -> bool:
        """To be called where a step of so many examples starts; False for the last one, which does not count."""
        self.times.append(time.process_time())
        self.counts.append(count)
        return len(self.times) < self.steps + self.skipped

    def per_example(self) -> float:
        """Seconds, from the start of the first step that counts to the start of the last."""
        return (self.times[-1] - self.times[self.skipped]) / sum(self.counts[self.skipped : -1])


class Clocked(Task):
    """Tells of each step."""

    def __init__(self, model: nn.Module, clock: Clock | Turn) -> None:
        super().__init__(model, lr=0.01)
        self.clock = clock

    def on_train_batch_start(self, batch: object, batch_idx: int) -> None:
        self.trainer.should_stop = not self.clock.step(len(batch[0]))

    def training_step(self, batch: object, batch_idx: int) -> torch.Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])


def loader(
    make: Callable[[int], torch.Tensor], batch_size: int, *, steps: int = STEPS, skipped: int = SKIPPED
) -> DataLoader:
    torch.manual_seed(0)
    count = batch_size * (steps + max(skipped, SKIPPED))
    return DataLoader(TensorDataset(make(count), torch.randint(0, 10, (count,))), batch_size=batch_size, shuffle=True)


def plain(make_model: Callable[[], nn.Module], data: DataLoader, clock: Clock | Turn) -> None:
    task = Clocked(make_model(), clock)
    module = Examples(lambda: data)
    draft = make_draft(task, module, **LIGHTNING)
    # A data module has hooks that Lightning asks for in each step; the private run has one, too.
    Trainer(**draft.trainer).fit(task, datamodule=module)


def private(make_model: Callable[[], nn.Module], data: DataLoader, clock: Clock | Turn, **options: object) -> None:
    task = Clocked(make_model(), clock)
    fit(DPSGD(target_epsilon=None, noise_multiplier=1.0, **options), task, Examples(lambda: data), **LIGHTNING)


class OpacusTask(LightningModule):
    """Opacus' parts in the training step that they need: its ghost norms go backwards twice."""

    def __init__(self, parts: ByOpacus, clock: Clock | Turn) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.parts, self.clock = parts, clock

    def on_train_batch_start(self, batch: object, batch_idx: int) -> None:
        self.trainer.should_stop = not self.clock.step(len(batch[0]))

    def training_step(self, batch: object, batch_idx: int) -> None:
        inputs, targets = batch
        self.parts.optimizer.zero_grad()
        self.parts.criterion(self.parts.model(inputs), targets).backward()
        self.parts.optimizer.step()

    def configure_optimizers(self) -> None:
        return None


def opacus(make_model: Callable[[], nn.Module], data: DataLoader, clock: Clock | Turn, mode: str) -> None:
    parts = by_opacus(make_model(), data, mode, drawn=True)
    task, private_data = OpacusTask(parts, clock), parts.data
    module = Examples(lambda: private_data)
    draft = make_draft(task, module, **LIGHTNING)
    Trainer(**draft.trainer).fit(task, datamodule=module)
    # The model and its hooks hold each other, with gigabytes of gradients.
    del parts, task, module, draft
    gc.collect()


def tiny() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 10))


def small(*, steps: int = STEPS) -> DataLoader:
    """Batches of 8 examples for it."""
    return loader(lambda count: torch.randn(count, 8), 8, steps=steps)


def seconds(
    run: Callable[..., None], *words: object, steps: int = STEPS, skipped: int = SKIPPED, **options: object
) -> float:
    """CPU time an example."""
    clock = Clock(FEW, WARM) if run is opacus and skipped != LATER else Clock(steps, skipped)
    run(*words, clock, **options)
    return clock.per_example()
