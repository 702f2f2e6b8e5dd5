"""The run after training, read-only: what `measure` gets."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from pytorch_lightning import LightningDataModule, LightningModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler, SequentialSampler, Subset, SubsetRandomSampler

from steelyard._untyped import like, sampler_of
from steelyard.adapters import Adapter
from steelyard.problem import refuse

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """A whole split, once through the model, on the CPU.

    Attributes:
        outputs: Raw outputs (N, ...).
        targets: What is right (N,).
        decisions: What the model decides (N,).
        losses: Loss of each example (N,), in nats.
    """

    outputs: Tensor
    targets: Tensor
    decisions: Tensor
    losses: Tensor


@dataclass(slots=True)
class Seconds:
    """Wall time that one plugin took of the run, outside the training step itself."""

    hooks: float = 0.0
    measure: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Run:
    """The trained run: the task in eval mode with all wraps off.

    Attributes:
        task: The LightningModule; leave it as you found it.
        data: The data module, set up.
        adapter: How to look at its batches and outputs.
        seed: The seed of the run: make a generator of your own from it.
        device: Where the task is.
        trained: False under `steelyard weigh`: there was no training in this run.
        folder: The run folder, for reading; what is to be kept is yielded as an artefact.
        deadline: `time.monotonic()` at which measuring should end, or None; an honest plugin then uses fewer samples
            and says so.
        seconds: Time spent so far, by plugin key.
    """

    task: LightningModule
    data: LightningDataModule
    adapter: Adapter
    seed: int
    device: torch.device
    trained: bool
    folder: Path
    deadline: float | None = None
    seconds: Mapping[str, Seconds] = field(default_factory=dict[str, Seconds])
    _predictions: dict[str, Predictions] = field(default_factory=dict[str, Predictions], repr=False)

    def loader(self, split: str) -> DataLoader[Any]:
        """The examples of one split, each once and in a fixed order, in the batches that the data module makes.

        Raises:
            Refused: If the data module has no such split.
        """
        return ordered(self._loader_of(split))

    def to_device(self, batch: Any) -> Any:
        """The batch on the task's device, moved as Lightning moves it (`transfer_batch_to_device`)."""
        return self.task.transfer_batch_to_device(batch, self.device, 0)

    def predict(self, split: str) -> Predictions:
        """Outputs, decisions and losses of a whole split; computed once and shared by all plugins."""
        if split not in self._predictions:
            self._predictions[split] = self._predict(split)
        return self._predictions[split]

    @torch.no_grad()
    def _predict(self, split: str) -> Predictions:
        outputs: list[Tensor] = []
        targets: list[Tensor] = []
        for raw in self.loader(split):
            batch = self.to_device(raw)
            outputs.append(self.adapter.outputs(self.task, self.adapter.inputs(batch)).float().cpu())
            targets.append(self.adapter.targets(batch).cpu())
        output, target = torch.cat(outputs), torch.cat(targets)
        scoring = self.adapter.scoring
        return Predictions(
            outputs=output, targets=target, decisions=scoring.decisions(output), losses=scoring.losses(output, target)
        )

    def _loader_of(self, split: str) -> Any:
        if split not in SPLITS:
            raise ValueError(f"no split {split!r}: {', '.join(SPLITS)}")
        return getattr(self.data, f"{split}_dataloader")()


def ordered(loader: object) -> DataLoader[Any]:
    """The population of a loader, each example once, unshuffled and in this process.

    A loader whose order cannot be known from its public parts (iterable data, custom batch samplers) is refused.
    """
    known = cast("DataLoader[Any]", loader)
    if not isinstance(loader, DataLoader) or known.batch_size is None:
        name = type(known).__name__
        raise refuse(f"{name} is no DataLoader with a batch_size, so nothing can be said of its single examples")
    dataset: Dataset[Any] = known.dataset
    sampler = sampler_of(known)
    if isinstance(sampler, SubsetRandomSampler):
        dataset = Subset(dataset, [*sampler.indices])
    elif not isinstance(sampler, RandomSampler | SequentialSampler):
        raise refuse(f"the sampler {type(sampler).__name__} hides which examples it draws")
    return like(known, dataset)
