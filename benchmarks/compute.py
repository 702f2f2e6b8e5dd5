"""What `steelyard plan` predicts of a training's memory and operations, beside what the training takes.

Run: python benchmarks/compute.py

Four steps of every training of the zoo, on one thread. The real tensor peak comes from torch's profiler, which sees
every allocation of the CPU's allocator from before the model is made; the data set, which is no part of the
prediction, is taken off it. Operations are those of the last step, for each of its examples. A private training draws
its batches, and its peak is that of the largest: it has forty steps, and the middle of five such trainings counts.

Goals: memory within 5 % each and 1 % in the median; operations equal.
"""

import json
import logging
import math
import os
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from statistics import median
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import torch
from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer, seed_everything
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset

from steelyard import assembly, registry
from steelyard.adapters import ClassScoring
from steelyard.adapters.table import TableAdapter
from steelyard.draft import Draft
from steelyard.estimating._flops import FlopCount
from steelyard.estimating.rehearsal import rehearse
from steelyard.selection import Selected

MIB = 1024**2


class Task(LightningModule):
    """A classifier of whatever the model makes."""

    def __init__(self, model: nn.Module, optimizer: Callable[..., torch.optim.Optimizer]) -> None:
        super().__init__()
        self.model = model
        self._optimizer = optimizer

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        inputs, targets = batch
        return functional.cross_entropy(self.model(inputs), targets)

    def configure_optimizers(self) -> Any:
        return self._optimizer([weight for weight in self.parameters() if weight.requires_grad], lr=1e-3)


class Data(LightningDataModule):
    """Noise of one shape."""

    def __init__(self, shape: tuple[int, ...], batch_size: int) -> None:
        super().__init__()
        self._examples = TensorDataset(torch.randn(4 * batch_size, *shape), torch.randint(10, (4 * batch_size,)))
        self._batch_size = batch_size

    def train_dataloader(self) -> Any:
        return DataLoader(self._examples, batch_size=self._batch_size)


class Attention(nn.Module):
    """An encoder layer whose attention is torch's fused one."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.three, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, inputs: Tensor) -> Tensor:
        three = self.three(self.norms[0](inputs)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(three[0], three[1], three[2])
        inputs = inputs + self.out(mixed.transpose(1, 2).flatten(2))
        return inputs + self.feed(self.norms[1](inputs))


class Pooled(nn.Module):
    """A body of a sequence, the mean over time and a head."""

    def __init__(self, body: nn.Module, width: int, *, light: bool = False) -> None:
        super().__init__()
        self.body, self.head, self.light = body, nn.Linear(width, 10), light

    def forward(self, inputs: Tensor) -> Tensor:
        if self.light:
            for part in self.body.children():
                inputs = checkpoint(part, inputs, use_reentrant=False)
        else:
            inputs = self.body(inputs)
        return self.head((inputs[0] if isinstance(inputs, tuple) else inputs).mean(dim=1))


def mlp() -> nn.Module:
    return nn.Sequential(*(layer for _ in range(4) for layer in (nn.Linear(512, 512), nn.ReLU())), nn.Linear(512, 10))


def cnn() -> nn.Module:
    layers = [
        layer
        for wide, more in ((3, 32), (32, 64))
        for layer in (nn.Conv2d(wide, more, 3), nn.BatchNorm2d(more), nn.ReLU())
    ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def transformer(*, light: bool = False) -> nn.Module:
    return Pooled(nn.Sequential(*(Attention(128, 4) for _ in range(3))), 128, light=light)


def torchs_encoder() -> nn.Module:
    return Pooled(nn.TransformerEncoder(nn.TransformerEncoderLayer(128, 4, 256, batch_first=True), 2), 128)


def low_rank() -> nn.Module:
    import peft

    model = transformer()
    peft.inject_adapter_in_model(peft.LoraConfig(r=4, target_modules=["three", "out"]), model)
    for name, weight in model.named_parameters():
        weight.requires_grad_("lora_" in name or name.startswith("head"))
    return model


@dataclass(frozen=True, kw_only=True)
class Case:
    model: Callable[[], nn.Module]
    shape: tuple[int, ...]
    batch_size: int = 32
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW
    plugins: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    trainer: Mapping[str, Any] = field(default_factory=dict[str, Any])
    steps: int = 4
    draws: int = 1

    def selected(self, draw: int = 0) -> list[Selected]:
        own = {"noise_seed": draw} if self.draws > 1 else {}
        return [Selected(key, registry.load(key)(**options, **own)) for key, options in self.plugins.items()]

    def data_bytes(self) -> int:
        return 4 * self.batch_size * (4 * math.prod(self.shape) + 8)

    def draft(self) -> Draft:
        seed_everything(0, verbose=False)
        quiet = {
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "logger": False,
            "enable_checkpointing": False,
        }
        return Draft(
            task=Task(self.model(), self.optimizer),
            data=Data(self.shape, self.batch_size),
            trainer={"max_steps": self.steps, "max_epochs": -1, "accelerator": "cpu", **quiet, **self.trainer},
            adapter=TableAdapter(scoring=ClassScoring(), bounds=None),
            seed=0,
        )


PRIVATE = {"privacy.dp_sgd": {"target_epsilon": None, "noise_multiplier": 1.0}}
SEQUENCE = (64, 128)
ZOO: Mapping[str, Case] = {
    "MLP, AdamW": Case(model=mlp, shape=(512,)),
    "MLP, SGD": Case(model=mlp, shape=(512,), optimizer=torch.optim.SGD),
    "CNN": Case(model=cnn, shape=(3, 32, 32)),
    "transformer, fused attention": Case(model=transformer, shape=SEQUENCE),
    "nn.TransformerEncoder": Case(model=torchs_encoder, shape=SEQUENCE),
    "LSTM": Case(model=lambda: Pooled(nn.LSTM(128, 128, 2, batch_first=True), 128), shape=SEQUENCE),
    "GRU": Case(model=lambda: Pooled(nn.GRU(128, 128, 2, batch_first=True), 128), shape=SEQUENCE),
    "LoRA": Case(model=low_rank, shape=SEQUENCE),
    "checkpointing": Case(model=lambda: transformer(light=True), shape=SEQUENCE),
    "bf16-mixed": Case(model=transformer, shape=SEQUENCE, trainer={"precision": "bf16-mixed"}),
    "8-bit Adam": Case(model=mlp, shape=(512,), plugins={"compute.optimizer_8bit": {}}),
    "DP-SGD, MLP": Case(model=mlp, shape=(512,), plugins=PRIVATE, steps=40, draws=5),
    "DP-SGD, CNN": Case(
        model=lambda: nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(14400, 10)),
        shape=(3, 32, 32),
        plugins=PRIVATE,
        steps=40,
        draws=5,
    ),
}


class Counted(Callback):
    """Counts the operations of the last step."""

    def __init__(self, steps: int) -> None:
        self.count, self.rows, self._steps = FlopCount(), 0, steps

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self._steps - 1:
            self.rows = len(batch[0])
            self.count.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self._steps:
            self.count.stop()


@dataclass(frozen=True, kw_only=True)
class Real:
    peak: int
    flops: float


def real(case: Case, draw: int) -> Real:
    """One training, watched; its operations for as many examples as a batch should have."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        counted = Counted(case.steps)
        train(case, draw, counted)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profile.export_chrome_trace(str(path))
        events = [event for event in json.loads(path.read_text())["traceEvents"] if event.get("name") == "[memory]"]
    most = max(accumulate(event["args"]["Bytes"] for event in sorted(events, key=lambda event: event["ts"])))
    flops = counted.count.total / counted.rows * case.batch_size
    return Real(peak=int(most) - case.data_bytes(), flops=flops)


def train(case: Case, draw: int, *callbacks: Any) -> None:
    draft, selected = case.draft(), case.selected(draw)
    attachments = assembly.attach(selected, draft)
    with assembly.wrapped(draft):
        trainer = Trainer(**draft.trainer, callbacks=[*assembly.callbacks(selected, attachments), *callbacks])
        trainer.fit(draft.task, train_dataloaders=draft.data.train_dataloader())


def main() -> None:
    torch.set_num_threads(1)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    errors: list[float] = []
    for name, case in ZOO.items():
        predicted = rehearse(case.selected(), case.draft())
        found = sorted((real(case, draw) for draw in range(case.draws)), key=lambda one: one.peak)
        actual = found[len(found) // 2]
        errors.append(predicted.tensor_bytes / actual.peak - 1)
        equal = all(predicted.flops == one.flops for one in found)
        same = "equal" if equal else f"{predicted.flops:,} for {actual.flops:,}"
        print(
            f"{name:30} {predicted.tensor_bytes / MIB:7.2f} MiB predicted, {actual.peak / MIB:7.2f} MiB real, "
            f"{errors[-1]:+.1%}; operations {same} {', '.join(predicted.uncounted)}",
            flush=True,
        )
    sizes = [abs(error) for error in errors]
    print(f"memory: worst {max(sizes):.1%}, median {median(sizes):.2%} of {len(sizes)}")


if __name__ == "__main__":
    main()
