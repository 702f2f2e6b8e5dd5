"""The base of the data modules whose examples fit into memory."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, final

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from steelyard.data.examples import Batch, Examples, collate
from steelyard.data.splits import Splits, split, split_groups
from steelyard.problem import check_least, refuse


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """Everything that was read, before it is split.

    Attributes:
        inputs: (N, ...) in the number type of the source.
        targets: (N,) int64, from 0 to `classes` - 1; or texts (N, L), filled up by -100; or (N, objects, 5) float32 of
            the objects in each picture, see `Shapes`.
        classes: How many there are, or how many tokens a text is made of.
        divisor: Turns the source's numbers into raw units.
        tests: How many examples at the end are the source's own test set; 0 where a fraction is dealt out instead.
        groups: (N,) integers from 0: whom each example comes from, e.g. a voice. A group lies in one split as a whole,
            and the fractions are of the groups. None where every example stands for itself.
    """

    inputs: Tensor
    targets: Tensor
    classes: int
    divisor: float = 1.0
    tests: int = 0
    groups: Tensor | None = None


class InMemory(LightningDataModule, ABC):
    """Splits, loaders, sizes and fingerprint of a corpus in memory. Batches are (inputs, targets).

    The splits depend on `split_seed` alone. The training loader shuffles by PyTorch's global stream, so the order
    follows the seed of the run; the others keep their order.

    Args:
        batch_size: Examples in a batch, of every loader.
        num_workers: Processes that load; 0 loads in this one, which is fastest for data in memory.
        split_seed: Decides who belongs to which split, and nothing else.
        val_fraction: Part of the examples (without the source's own test set) for validation.
        test_fraction: Part of them for the test; 0 where the source has its own test set.
        limit: At most this many examples in each split, for a quick look.
    """

    modality: ClassVar[str]
    """Chooses the adapter."""
    bounds: ClassVar[tuple[float, float] | None]
    """Smallest and largest raw value, or None where there is no natural range."""

    def __init__(
        self,
        *,
        batch_size: int = 64,
        num_workers: int = 0,
        split_seed: int = 0,
        val_fraction: float = 0.2,
        test_fraction: float = 0.2,
        limit: int | None = None,
    ) -> None:
        super().__init__()
        check_least("data.batch_size", batch_size, 1, fix=64)
        if limit is not None:
            check_least("data.limit", limit, 1, fix=64)
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.split_seed = split_seed
        self.val_fraction = val_fraction
        self.test_fraction = test_fraction
        self.limit = limit

    @abstractmethod
    def read(self) -> Corpus:
        """Reads the source; called once.

        Raises:
            Refused: If something is missing or damaged.
        """

    @abstractmethod
    def moments(self) -> Mapping[str, Any]:
        """`mean` and `std` by which a model shall normalise its inputs: numbers, or one per channel or column."""

    @final
    @cached_property
    def corpus(self) -> Corpus:
        """What `read` gave, its labels checked.

        Raises:
            Refused: If a label is none of the classes.
        """
        found = self.read()
        _check_labels(found)
        return found

    @final
    @cached_property
    def splits(self) -> Splits:
        """Indices into the corpus."""
        own = self.corpus.tests
        if self.corpus.groups is not None:
            whole = split_groups(
                self.corpus.groups, seed=self.split_seed, val=self.val_fraction, test=self.test_fraction
            )
            return whole.cut(self.limit)
        count = len(self.corpus.targets) - own
        splits = split(count, seed=self.split_seed, val=self.val_fraction, test=0 if own else self.test_fraction)
        if own:
            splits = Splits(train=splits.train, val=splits.val, test=torch.arange(count, count + own))
        return splits.cut(self.limit)

    @final
    def groups_of(self, split: str) -> Tensor | None:
        """Whom each example of a split comes from, in the order of its unshuffled loader; None where nobody knows."""
        groups = self.corpus.groups
        return None if groups is None else groups[getattr(self.splits, split)]

    @final
    @property
    def sizes(self) -> Mapping[str, Any]:
        """What a model must know of the data: fills `model.input_shape=???` and the like."""
        shape = tuple(self.corpus.inputs.shape[1:])
        return {"input_shape": shape, "classes": self.corpus.classes, **self.moments()}

    @final
    def fingerprint(self) -> str:
        """SHA-256 of the content, in hexadecimal; it does not depend on the splits, nor on how the data is stored."""
        digest = hashlib.sha256()
        for tensor in (self.corpus.inputs, self.corpus.targets):
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)} {self.corpus.tests}\n".encode())
            digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()

    @final
    def setup(self, stage: str) -> None:
        """Reads the source, so that what is missing shows before the first epoch."""
        del stage
        assert self.splits

    @final
    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled anew in each epoch."""
        return self._loader(self.splits.train, shuffle=True)

    @final
    def val_dataloader(self) -> DataLoader[Batch]:
        """In fixed order."""
        return self._loader(self.splits.val, shuffle=False)

    @final
    def test_dataloader(self) -> DataLoader[Batch]:
        """In fixed order."""
        return self._loader(self.splits.test, shuffle=False)

    def _loader(self, chosen: Tensor, *, shuffle: bool) -> DataLoader[Batch]:
        examples = Examples(self.corpus.inputs[chosen], self.corpus.targets[chosen], divisor=self.corpus.divisor)
        return DataLoader(
            examples,
            batch_size=self.batch_size,
            shuffle=shuffle,
            # Workers start anew with each epoch: those that stay would go on from where no checkpoint can put them.
            num_workers=self.num_workers,
            collate_fn=collate,
        )


def _check_labels(found: Corpus) -> None:
    """A label out of range would end training with an error that names neither the row nor the label."""
    targets = found.targets
    if targets.dim() != 1 or targets.is_floating_point():
        return
    wrong = ((targets < 0) | (targets >= found.classes)).nonzero()[:, 0]
    if len(wrong):
        row = int(wrong[0])
        raise refuse(
            f"example {row} has the label {int(targets[row])}, and {found.classes} classes go from 0 to "
            f"{found.classes - 1} ({len(wrong)} such labels in all)"
        )
