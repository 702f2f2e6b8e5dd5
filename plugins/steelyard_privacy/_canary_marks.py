# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Marks on training examples that travel with them, through workers, samplers and batches of any structure."""

import copy
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast, final

import numpy as np
import torch
from pytorch_lightning import LightningDataModule, LightningModule
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from steelyard import randomness
from steelyard.draft import Draft
from steelyard.problem import Problem, refuse
from steelyard_privacy._sampling import Population, Unsuitable, population_of, rebuilt
from steelyard_privacy.canaries import Canaries

NONE = -1
KEY = "steelyard_canary"
MOST, SHARE, LEAST = 1000, 10, 10
TRANSFERS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")


class Marked(NamedTuple):
    """A batch of a kind that has no room for marks."""

    batch: Any
    marks: Tensor


def obstacles(plugin: Canaries, draft: Draft) -> Iterator[Problem]:
    """What keeps examples from being marked."""
    try:
        size = len(population(draft.data).indices)
    except Unsuitable as unsuitable:
        yield Problem(str(unsuitable), unsuitable.fix)
        return
    if how_many(plugin, size) > size:
        yield Problem(
            f"{how_many(plugin, size)} canaries need as many training examples, there are {size}",
            "privacy.canaries.count=null" if size >= LEAST else "privacy=none",
        )
    if not draft.task.automatic_optimization:
        yield Problem("the task optimises manually, past the gradient of a canary", "set automatic_optimization = True")
    for owner, parent in ((draft.data, LightningDataModule), (draft.task, LightningModule)):
        for name in TRANSFERS:
            if is_overridden(name, owner, parent):
                yield Problem(
                    f"{type(owner).__name__}.{name} would see the marks of the canaries in its batches",
                    "do what it does in the data set, in collate_fn or in training_step",
                )


def population(data: LightningDataModule) -> Population:
    """Who can be marked.

    Raises:
        Unsuitable: If the loader does not tell.
    """
    with randomness.forked():
        return population_of(data.train_dataloader())


def how_many(plugin: Canaries, size: int) -> int:
    """The number of canaries among `size` examples."""
    return max(LEAST, min(MOST, size // SHARE)) if plugin.count is None else plugin.count


class Gathered(NamedTuple):
    """What a data set gave for a batch, and the marks."""

    items: Any
    marks: Tensor


@final
class MarkedExamples(Dataset[Any]):
    """A data set whose examples know their mark, where it is asked for a batch, as PyTorch's loader does."""

    def __init__(self, inside: Any, marks: Mapping[int, int]) -> None:
        self._inside = inside
        self._marks = marks

    def __len__(self) -> int:
        return len(self._inside)

    def __getitem__(self, index: int) -> Any:
        return self._inside[index]

    def __getitems__(self, indices: Sequence[int]) -> Gathered:
        whole: Callable[[Sequence[int]], Any] | None = getattr(self._inside, "__getitems__", None)
        items = [self._inside[index] for index in indices] if whole is None else whole(indices)
        return Gathered(items, torch.tensor([self._marks.get(int(index), NONE) for index in indices]))


@final
@dataclass(frozen=True)
class MarkedCollate:
    """Makes a batch as the loader does, and puts the marks of its examples beside it."""

    inside: Callable[[Any], Any]

    def __call__(self, gathered: Any) -> Any:
        """The batch with its marks."""
        return with_marks(self.inside(gathered.items), gathered.marks)


def marked(loader: Any, marks: Mapping[int, int]) -> DataLoader[Any]:
    """The same loader, with marks on the examples at some positions of its data set.

    Raises:
        Refused: If it is not a loader whose single examples can be marked.
    """
    try:
        population_of(loader)
    except Unsuitable as unsuitable:
        raise refuse(str(unsuitable), fix=unsuitable.fix) from unsuitable
    source = cast("DataLoader[Any]", loader)
    return rebuilt(
        source,
        MarkedExamples(source.dataset, marks),
        sampler=source.sampler,
        collate_fn=MarkedCollate(source.collate_fn),
    )


def with_marks(batch: Any, marks: Tensor) -> Any:
    """The batch with one more part; who looks up its other parts by place or by name finds them as before."""
    if isinstance(batch, MutableMapping):
        # Transformers' BatchEncoding and the like carry more than their items.
        twin = copy.copy(batch)
        twin[KEY] = marks
        return twin
    if type(batch) in (list, tuple) and any(_holds_rows(part) for part in batch):
        parts = [*batch, marks]
        return parts if isinstance(batch, list) else tuple(parts)
    return Marked(batch, marks)


def without_marks(batch: Any) -> Marked:
    """The batch as the task knows it, and the marks of its examples.

    Raises:
        ValueError: If the batch has none.
    """
    if isinstance(batch, Marked):
        return batch
    if isinstance(batch, MutableMapping) and KEY in batch:
        twin: Any = copy.copy(batch)
        return Marked(twin, twin.pop(KEY))
    if type(batch) in (list, tuple) and len(batch) > 1 and isinstance(batch[-1], Tensor):
        return Marked(batch[:-1], batch[-1])
    raise ValueError("a batch has lost the marks of its examples on the way to the training step")


def _holds_rows(part: Any) -> bool:
    return isinstance(part, Tensor | np.ndarray) and part.ndim > 0
