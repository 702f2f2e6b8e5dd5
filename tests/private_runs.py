"""A small harness for private training: a draft, one plugin attached, `Trainer.fit` with the wraps on."""

import tempfile
import uuid
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from steelyard import assembly
from steelyard.adapters import ClassScoring
from steelyard.adapters.table import TableAdapter
from steelyard.draft import Draft
from steelyard.selection import Selected
from steelyard_privacy._dp_sgd import PrivateTraining
from steelyard_privacy._engine import Engine, Objective
from steelyard_privacy._sums import Layout, Sums
from steelyard_privacy.dp_sgd import DPSGD

FEATURES, CLASSES = 6, 3


def examples(count: int, *, shape: tuple[int, ...] = (FEATURES,), seed: int = 0) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, *shape, generator=generator)
    return TensorDataset(inputs, torch.randint(0, CLASSES, (count,), generator=generator))


class Examples(LightningDataModule):
    """Any loader as the training split."""

    modality = "table"

    def __init__(self, make_loader: Callable[[], Any]) -> None:
        super().__init__()
        self.make_loader = make_loader

    def train_dataloader(self) -> Any:
        return self.make_loader()


def data(count: int = 64, *, batch_size: int = 16, shape: tuple[int, ...] = (FEATURES,), **loader: Any) -> Examples:
    dataset = examples(count, shape=shape)
    return Examples(lambda: DataLoader(dataset, batch_size=batch_size, shuffle=True, **loader))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(FEATURES, 8), nn.ReLU(), nn.Linear(8, CLASSES))


class Task(LightningModule):
    """A stranger's task."""

    def __init__(self, model: nn.Module | None = None, *, lr: float = 0.1) -> None:
        super().__init__()
        self.model = mlp() if model is None else model
        self.lr = lr
        self.losses: list[float] = []

    def forward(self, inputs: Tensor) -> Tensor:
        return self.model(inputs)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        inputs, targets = batch
        loss = functional.cross_entropy(self(inputs), targets)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


def weights(module: nn.Module) -> Tensor:
    return torch.cat([weight.detach().reshape(-1).double() for weight in module.parameters()])


@dataclass
class Fitted:
    task: LightningModule
    trainer: Trainer
    attachment: PrivateTraining
    draft: Draft = field(repr=False)


def make_draft(task: LightningModule, module: LightningDataModule, **trainer: Any) -> Draft:
    quiet = {
        "accelerator": "cpu",
        # The ledger of what was spent lies beside it.
        "default_root_dir": Path(tempfile.gettempdir())
        / "steelyard_private_runs"
        / uuid.uuid4().hex
        / "outputs"
        / "run",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "log_every_n_steps": 1,
    }
    adapter = TableAdapter(scoring=ClassScoring(), bounds=None)
    return Draft(task=task, data=module, trainer={**quiet, **trainer}, adapter=adapter, seed=0)


def fit(
    plugin: DPSGD,
    task: LightningModule,
    module: LightningDataModule,
    *,
    prepare: Callable[[PrivateTraining], None] = lambda _: None,
    callbacks: tuple[Any, ...] = (),
    ckpt_path: Path | None = None,
    **trainer: Any,
) -> Fitted:
    """Attaches the plugin and trains; `prepare` sees the attachment before."""
    draft = make_draft(task, module, **{"max_epochs": 1, **trainer})
    selected = [Selected("privacy.dp_sgd", plugin)]
    attachments = assembly.attach(selected, draft)
    attachment = attachments["privacy.dp_sgd"]
    assert isinstance(attachment, PrivateTraining)
    prepare(attachment)
    with warnings.catch_warnings(), assembly.wrapped(draft):
        warnings.filterwarnings("ignore", message=r".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=r".*treespec, LeafSpec.*")
        attached = assembly.spared(assembly.callbacks(selected, attachments))
        lightning = Trainer(**draft.trainer, callbacks=[*attached, *callbacks])
        lightning.fit(task, datamodule=module, ckpt_path=ckpt_path, weights_only=True if ckpt_path else None)
    return Fitted(task, lightning, attachment, draft)


def replanned(attachment: PrivateTraining, *, noise_multiplier: float) -> None:
    """Another noise than the plugin would allow, such as none."""
    mechanism = replace(attachment._plan.mechanism, noise_multiplier=noise_multiplier)
    attachment._plan = replace(attachment._plan, mechanism=mechanism, affordable_steps=None)
    attachment._account = replace(attachment._account, noise_multiplier=noise_multiplier)


def clipped(
    engine: Engine, layout: Layout, batch: Any, objective: Objective, *, max_norm: float
) -> tuple[Tensor, Tensor]:
    """The clipped sum by one engine, and the norms before."""
    sums = Sums(layout)
    norms = engine.add_clipped(sums, batch, count=len(batch[0]), objective=objective, max_norm=max_norm)
    return sums.total(), norms


def objective(model: nn.Module) -> Objective:
    """The mean loss of a classifier's batch."""

    def mean_loss(batch: Any) -> Tensor:
        return functional.cross_entropy(model(batch[0]), batch[1])

    return mean_loss
