"""What Steelyard costs and knows on a CUDA GPU: private steps, telemetry, and memory that was foretold.

Trainings go through `Trainer.fit`, except those of Opacus, which run in a bare loop; all in one process, interleaved,
wall time between two moments at which the GPU has done all it was given, median of the ratios. Without a GPU it says so
and ends. Run: python benchmarks/gpu.py  (with a word: memory or steps alone)
"""

import gc
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import torch
from _private_models import Transformer, by_opacus
from compute import ZOO, Case, train
from pytorch_lightning import Callback, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from private_runs import Examples, Task, fit, make_draft
from steelyard.estimating.rehearsal import rehearse
from steelyard.models import ResNet
from steelyard_compute._cost import CostAttachment
from steelyard_privacy.dp_sgd import DPSGD

PAIRS = int(os.environ.get("PAIRS", "5"))
STEPS = int(os.environ.get("STEPS", "12"))
SKIPPED = 8
"""First steps, which do not count."""
MIB = 2**20


def resnet() -> nn.Module:
    return ResNet(input_shape=(3, 32, 32), classes=10, widths=(64, 128, 256, 512), depths=(2, 2, 2, 2), norm="group")


def transformer(width: int, layers: int, length: int) -> Callable[[], nn.Module]:
    return lambda: Transformer(vocabulary=30_000, length=length, width=width, layers=layers, classes=10)


def words(length: int) -> Callable[[int], Tensor]:
    return lambda count: torch.randint(0, 30_000, (count, length))


class Coded(nn.Module):
    """A model of whole numbers, made of those that the zoo has."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, inputs: Tensor) -> Tensor:
        return self.body((1000 * inputs.abs()).long())


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], Tensor], int]] = {
    "transformer d768 L12 T128, B 64": (transformer(768, 12, 128), words(128), 64),
    "transformer d128 L4 T64, B 32": (transformer(128, 4, 64), words(64), 32),
    "ResNet-18, GroupNorm 32x32, B 256": (resnet, lambda count: torch.randn(count, 3, 32, 32), 256),
    "MLP 784-4096-4096-10, B 1024": (
        lambda: nn.Sequential(nn.Linear(784, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 10)),
        lambda count: torch.randn(count, 784),
        1024,
    ),
}
LARGE: dict[str, Case] = {
    "transformer d768 L12 T128, B 64": Case(
        model=lambda: Coded(transformer(768, 12, 128)()), shape=(128,), batch_size=64
    ),
    "ResNet-18, GroupNorm, B 256": Case(model=resnet, shape=(3, 32, 32), batch_size=256),
}


class Clocked(Task):
    """Notes the time and the number of examples of each step that counts."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model, lr=0.01)
        self.seen, self.began, self.ended, self.examples = 0, 0.0, 0.0, 0

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        if self.seen in (SKIPPED, SKIPPED + STEPS):
            torch.cuda.synchronize()
            self.began, self.ended = self.ended, time.perf_counter()
        if SKIPPED <= self.seen < SKIPPED + STEPS:
            self.examples += len(batch[0])
        self.seen += 1
        self.trainer.should_stop = self.seen > SKIPPED + STEPS

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    @property
    def per_example(self) -> float:
        """Seconds."""
        return (self.ended - self.began) / self.examples


def loader(make: Callable[[int], Tensor], batch_size: int) -> DataLoader[Any]:
    torch.manual_seed(0)
    count = batch_size * (STEPS + SKIPPED + 2)
    classes = torch.randint(0, 2, (count,))
    return DataLoader(TensorDataset(make(count), classes), batch_size=batch_size, shuffle=True)


def trainer(precision: str) -> dict[str, Any]:
    return {"accelerator": "gpu", "devices": 1, "precision": precision, "max_epochs": 20, "log_every_n_steps": 50}


def plain(
    make: Callable[[], nn.Module], data: DataLoader[Any], precision: str, callbacks: Sequence[Callback] = ()
) -> float:
    task = Clocked(make())
    draft = make_draft(task, Examples(lambda: data), **trainer(precision))
    Trainer(**draft.trainer, callbacks=[*callbacks]).fit(task, data)
    return task.per_example


def weighed(make: Callable[[], nn.Module], data: DataLoader[Any], precision: str) -> float:
    draft = make_draft(Task(), Examples(lambda: data))
    return plain(make, data, precision, [CostAttachment(draft.adapter)])


def private(make: Callable[[], nn.Module], data: DataLoader[Any], precision: str) -> float:
    task = Clocked(make())
    fit(DPSGD(target_epsilon=None, noise_multiplier=1.0), task, Examples(lambda: data), **trainer(precision))
    return task.per_example


def opacus(make: Callable[[], nn.Module], data: DataLoader[Any], mode: str) -> float:
    model, optimizer, criterion, _ = by_opacus(make().cuda(), data, mode)
    began, examples = 0.0, 0
    for number, (inputs, targets) in enumerate(data):
        if number == SKIPPED:
            torch.cuda.synchronize()
            began = time.perf_counter()
        if number == SKIPPED + STEPS:
            break
        optimizer.zero_grad()
        criterion(model(inputs.cuda()), targets.cuda()).backward()
        optimizer.step()
        examples += len(inputs) * (number >= SKIPPED)
    torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    # The model and its hooks hold each other, with gigabytes of gradients.
    del model, optimizer
    gc.collect()
    torch.cuda.empty_cache()
    return seconds / examples


def told_steps(name: str, precision: str) -> None:
    make, inputs, batch_size = MODELS[name]
    data = loader(inputs, batch_size)
    runs: dict[str, Callable[[], float]] = {
        "plain": lambda: plain(make, data, precision),
        "cost": lambda: weighed(make, data, precision),
        "dp_sgd": lambda: private(make, data, precision),
    }
    if precision == "32-true":
        runs |= {f"opacus {mode}": lambda mode=mode: opacus(make, data, mode) for mode in ("hooks", "ghost")}
    found: dict[str, list[float]] = {key: [] for key in runs}
    for _ in range(PAIRS):
        for key, run in runs.items():
            try:
                found[key].append(run())
            except Exception as error:  # Opacus does not know every layer, nor has every mode room enough
                print(f"{name}: {key}: {type(error).__name__}: {str(error)[:100]}", flush=True)
                found[key].append(float("nan"))
    ratios = {key: median(a / b for a, b in zip(row, found["plain"], strict=True)) for key, row in found.items()}
    told = " | ".join(f"{key} {ratio:.2f}" for key, ratio in ratios.items() if key != "plain")
    print(
        f"{name:36} {precision:10} plain {1e3 * batch_size * median(found['plain']):7.2f} ms a step | {told}",
        flush=True,
    )


def told_memory(name: str, case: Case) -> float:
    """What was foretold over what torch's allocator gave out at most, of a few steps."""
    case = replace(case, trainer={**case.trainer, "accelerator": "gpu", "devices": 1})
    predicted = rehearse(case.selected(), case.draft())
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    train(case)
    actual = torch.cuda.max_memory_allocated()
    print(
        f"{name:32} {predicted.gpu_bytes / MIB:9.2f} MiB predicted, {actual / MIB:9.2f} MiB taken "
        f"({before / MIB:.2f} before), {predicted.gpu_bytes / actual - 1:+.1%}",
        flush=True,
    )
    return abs(predicted.gpu_bytes / actual - 1)


def main() -> None:
    if not torch.cuda.is_available():
        print("no CUDA GPU here: nothing to measure")
        return
    warnings.simplefilter("ignore")
    print(torch.cuda.get_device_name(), torch.__version__)
    only = sys.argv[1:]
    if not only or "memory" in only:
        found = [told_memory(name, case) for name, case in {**ZOO, **LARGE}.items()]
        print(f"memory: worst {max(found):.1%}, median {median(found):.1%} of {len(found)}")
    if not only or "steps" in only:
        for name in MODELS:
            for precision in ("32-true", "bf16-mixed"):
                told_steps(name, precision)


if __name__ == "__main__":
    main()
