# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""The share of a rank: every drawn batch is dealt out, so that more processes compute the same step in less time."""

import random
from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Any, cast

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, distributed
from torch.utils.data import DataLoader, IterableDataset
from typing_extensions import override

from steelyard.draft import Draft, Step
from steelyard.problem import refuse
from steelyard.ranks.rank import DealtOut, Rank
from steelyard.seam import Seam


class Shares:
    """The batches of a loader, of each only the part of one rank.

    The first rank draws for all: its order is the one that a single process would have.

    Args:
        batches: All indices of each batch.
        rank: Whose part.

    Attributes:
        weights: What each batch of this epoch counts: the part's size over the mean size of all parts, so that the
            mean over the ranks is the mean over the whole batch.
    """

    def __init__(self, batches: Iterable[list[int]], rank: Rank) -> None:
        self._batches, self._rank = batches, rank
        self.weights: list[float] = []

    def __len__(self) -> int:
        return len(cast("Sized", self._batches))

    def __iter__(self) -> Iterator[list[int]]:
        # Drawn at the first step and not before, where a single process draws, too: the stream is the same.
        drawn = [[list(batch) for batch in self._batches] if self._rank.first else None]
        distributed.broadcast_object_list(drawn, src=0)
        whole = drawn[0]
        assert whole is not None
        parts = [batch[self._rank.number :: self._rank.count] for batch in whole]
        self.weights = [len(part) * self._rank.count / len(batch) for part, batch in zip(parts, whole, strict=True)]
        # A batch smaller than the number of ranks leaves some with nothing: they compute along, and count nothing.
        yield from (part or batch[:1] for part, batch in zip(parts, whole, strict=True))


class Weighing(Callback):
    """Weighs the loss of each batch by the size of this rank's part; put into the draft by `deal_out`.

    Args:
        rank: Which one this is.
        seed: Of the run.
    """

    def __init__(self, rank: Rank, seed: int) -> None:
        self._rank = rank
        self._seed = seed + 1_000_003 * rank.number
        self._shares: Shares | None = None
        self._weight = 1.0

    def loader(self, given: Iterable[Any]) -> Iterable[Any]:
        """The same loader with this rank's part of every batch.

        Raises:
            Refused: If batches cannot be dealt out.
        """
        if isinstance(given, DealtOut):
            return given
        if not isinstance(given, DataLoader) or isinstance(given.dataset, IterableDataset):
            kind = type(given.dataset if isinstance(given, DataLoader) else given).__name__
            raise refuse(
                f"{kind} draws its batches in a way of its own, which cannot be dealt out", fix="trainer.devices=1"
            )
        if given.batch_sampler is None:
            raise refuse("the training loader makes no batches that could be dealt out", fix="data.batch_size=64")
        batches: Any = given.batch_sampler
        self._shares = Shares(batches, self._rank)
        return DataLoader(
            given.dataset,
            batch_sampler=cast("Any", self._shares),
            num_workers=given.num_workers,
            collate_fn=given.collate_fn,
            pin_memory=given.pin_memory,
            timeout=given.timeout,
            worker_init_fn=given.worker_init_fn,
            multiprocessing_context=given.multiprocessing_context,
            prefetch_factor=given.prefetch_factor,
            persistent_workers=given.persistent_workers,
        )

    def step(self, inner: Step) -> Step:
        """The training step with its loss weighed."""

        def weighed(*args: Any, **named: Any) -> Any:
            given = inner(*args, **named)
            if self._weight == 1.0 or given is None:
                return given
            if isinstance(given, Mapping):
                loss: Tensor = given["loss"]
                return {**given, "loss": loss * self._weight}
            return given * self._weight

        return weighed

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gives every rank but the first random streams of its own: the same dropout in all would be less noise."""
        if not self._rank.first:
            torch.manual_seed(self._seed)
            np.random.seed(self._seed % 2**32)
            random.seed(self._seed)

    @override
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self._shares is not None:
            self._weight = self._shares.weights[batch_idx]


def deal_out(draft: Draft, rank: Rank) -> Weighing:
    """Puts the sharing into the draft, round whatever plugins have put there, and gives its callback."""
    if not draft.task.automatic_optimization:
        raise refuse("the task steps its optimizers itself, so its losses cannot be weighed", fix="trainer.devices=1")
    weighing = Weighing(rank, draft.seed)
    draft.loaders.append(weighing.loader)
    draft.steps[Seam.BATCHES].append(weighing.step)
    return weighing
