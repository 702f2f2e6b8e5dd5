"""The run after training, read-only: what `measure` gets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from pytorch_lightning import LightningDataModule, LightningModule
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import DataLoader, Dataset, RandomSampler, SequentialSampler, Subset, SubsetRandomSampler

from steelyard._untyped import chosen, like, sampler_of
from steelyard.adapters import IGNORED, Adapter
from steelyard.problem import refuse

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """A whole split, once through the model, on the CPU.

    Attributes:
        targets: What is right (N,) or (N, ...), shorter rows filled up with IGNORED.
        decisions: What the model decides, of the same shape.
        marks: How right each decision is, from 0 to 1 (N,).
        probabilities: That the model gives to each decision (N,).
        losses: Loss of each example (N,), in nats.
    """

    targets: Tensor
    decisions: Tensor
    marks: Tensor
    probabilities: Tensor
    losses: Tensor

    def at(self, rows: Tensor) -> "Predictions":
        """Of the examples with these places, in this order."""
        return Predictions(
            targets=self.targets[rows],
            decisions=self.decisions[rows],
            marks=self.marks[rows],
            probabilities=self.probabilities[rows],
            losses=self.losses[rows],
        )


@dataclass(slots=True)
class Seconds:
    """What one plugin took of the run, outside the training step itself.

    Attributes:
        hooks: Wall time of its hooks during training.
        measure: Wall time of its `measure`.
        memory: MiB by which the process grew at most while it measured; None where the system does not say.
    """

    hooks: float = 0.0
    measure: float = 0.0
    memory: float | None = None


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

    def batch(self, split: str, numbers: Sequence[int]) -> Any:
        """The examples with these places in the order of `loader`, as one batch on the task's device."""
        return self.to_device(next(iter(chosen(self.loader(split), numbers))))

    @torch.no_grad()
    def _predict(self, split: str) -> Predictions:
        scoring = self.adapter.scoring
        rows: list[tuple[Tensor, ...]] = []
        order = self._by_length(split)
        loader = self.loader(split)
        for raw in loader if order is None else chosen(loader, order, size=loader.batch_size):
            batch = self.to_device(raw)
            outputs, targets = self.adapter.outputs(self.task, batch), self.adapter.targets(batch)
            decisions = scoring.decisions(outputs, targets)
            marks, chances = scoring.marks(decisions, targets), scoring.probabilities(outputs, decisions).float()
            found = (targets, decisions, marks, chances, scoring.losses(outputs, targets).float())
            rows.append(tuple(tensor.cpu() for tensor in found))
        targets, decisions, marks, chances, losses = (_joined(column) for column in zip(*rows, strict=True))
        found = Predictions(targets=targets, decisions=decisions, marks=marks, probabilities=chances, losses=losses)
        return found if order is None else found.at(torch.tensor(order).argsort())

    def _by_length(self, split: str) -> list[int] | None:
        """Places of the examples, the longest first; None where none is padded.

        A batch of one length is not padded to the longest of them, on which most of the time would go; the longest come
        first, so that what does not fit does so at once.
        """
        lengths: list[Tensor] = []
        for raw in self.loader(split):
            present = self.adapter.present(raw)
            if present is None:
                return None
            lengths.append(present.sum(dim=1))
        every = torch.cat(lengths)
        if int(every.min()) == int(every.max()):
            return None
        return [int(place) for place in every.argsort(descending=True, stable=True)]

    def _loader_of(self, split: str) -> Any:
        if split not in SPLITS:
            raise ValueError(f"no split {split!r}: {', '.join(SPLITS)}")
        return getattr(self.data, f"{split}_dataloader")()


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """All rows; those of shorter batches are filled up at the end."""
    if parts[0].dim() < 2:
        return torch.cat([*parts])
    longest = max(part.shape[1] for part in parts)
    rest = [0, 0] * (parts[0].dim() - 2)
    return torch.cat([pad(part, [*rest, 0, longest - part.shape[1]], value=IGNORED) for part in parts])


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
