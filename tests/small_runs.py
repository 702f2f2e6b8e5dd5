"""Small trained runs for tests of plugins, built by hand: no configuration, no run folder."""

import copy
import random
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer, seed_everything
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from steelyard.adapters import Adapter, ClassScoring
from steelyard.adapters.image import ImageAdapter
from steelyard.adapters.table import TableAdapter
from steelyard.data import Digits
from steelyard.models.mlp import MLP
from steelyard.runs import Run
from steelyard.tasks import Classification

IMAGES = ImageAdapter(scoring=ClassScoring(), bounds=(0.0, 1.0))
TABLE = TableAdapter(scoring=ClassScoring(), bounds=None)


class Points(LightningDataModule):
    """The same tensors as every split."""

    def __init__(self, inputs: Tensor, targets: Tensor, *, batch_size: int = 32) -> None:
        super().__init__()
        self._data = TensorDataset(inputs, targets)
        self._batch_size = batch_size

    def train_dataloader(self) -> Any:
        return DataLoader(self._data, batch_size=self._batch_size, shuffle=True)

    def val_dataloader(self) -> Any:
        return DataLoader(self._data, batch_size=self._batch_size)

    test_dataloader = val_dataloader


def parted(count: int = 200, *, flipped: int = 0) -> Points:
    """Two classes of rows that a plane parts, the first ones under the wrong label."""
    inputs = torch.randn(count, 6, generator=torch.Generator().manual_seed(0))
    targets = (inputs @ torch.tensor([3.0, -2.0, 1.0, 0.0, 0.0, 0.0]) > 0).long()
    targets[:flipped] = 1 - targets[:flipped]
    return Points(inputs, targets)


def digits_task(model: nn.Module | None = None) -> Classification:
    """A small MLP on the digits, or another model."""
    model = MLP(input_shape=(1, 8, 8), classes=10, hidden=(32,)) if model is None else model
    return Classification(model=model, optimizer=partial(torch.optim.Adam, lr=0.01), classes=10)


def table_task(model: nn.Module, *, classes: int = 2) -> Classification:
    """Any model on a table."""
    return Classification(model=model, optimizer=partial(torch.optim.SGD, lr=0.1), classes=classes)


def train(
    make_task: Callable[[], LightningModule],
    data: LightningDataModule,
    *,
    callbacks: Sequence[Callback] = (),
    epochs: int = 1,
    seed: int = 0,
    **trainer: Any,
) -> LightningModule:
    """`Trainer.fit` on the CPU without any file."""
    seed_everything(seed, verbose=False)
    task = make_task()
    Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[*callbacks],
        **trainer,
    ).fit(task, datamodule=data)
    return task


def frozen(
    task: LightningModule,
    data: LightningDataModule,
    *,
    adapter: Adapter = IMAGES,
    trained: bool = True,
    seed: int = 0,
    **others: Any,
) -> Run:
    """The run after training, as `measure` gets it."""
    return Run(
        task=task.eval(),
        data=data,
        adapter=adapter,
        seed=seed,
        device=torch.device("cpu"),
        trained=trained,
        folder=Path(),
        **others,
    )


def digits() -> Digits:
    data = Digits(batch_size=128)
    data.setup("fit")
    return data


def bits(module: nn.Module) -> dict[str, Tensor]:
    """A copy of every weight and buffer."""
    return copy.deepcopy({**dict(module.named_parameters()), **dict(module.named_buffers())})


def same_bits(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def streams() -> tuple[Any, ...]:
    """The state of every global random stream, comparable."""
    kind, keys, *rest = np.random.get_state()
    return torch.get_rng_state().tolist(), random.getstate(), kind, keys.tolist(), *rest


def flags(module: nn.Module) -> dict[str, Any]:
    """Train flags, `requires_grad`, gradients and hooks: what a plugin must put back."""
    return {
        "training": {name: part.training for name, part in module.named_modules()},
        "requires_grad": {name: weight.requires_grad for name, weight in module.named_parameters()},
        "grad": {name: weight.grad is None for name, weight in module.named_parameters()},
        "hooks": {
            name: (len(part._forward_hooks), len(part._forward_pre_hooks), len(part._backward_hooks))
            for name, part in module.named_modules()
        },
    }
