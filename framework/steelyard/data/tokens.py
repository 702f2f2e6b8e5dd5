"""Sequences of tokens in memory, padded batch by batch."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from torch.utils.data import Dataset, RandomSampler

TokenBatch = Mapping[str, Tensor]
"""`input_ids` and `attention_mask` (B, L), and `labels`: (B,) for classes, (B, T) for tokens, padded by `IGNORED`."""

IGNORED = -100
"""What stands in `labels` where there is nothing to learn."""


@final
class TokenExamples(Dataset[Mapping[str, Tensor]]):
    """Token numbers with what is to be learned from them.

    Args:
        tokens: One sequence per example.
        labels: A class or a sequence of tokens per example.
    """

    def __init__(self, tokens: Sequence[Sequence[int]], labels: Sequence[int] | Sequence[Sequence[int]]) -> None:
        assert len(tokens) == len(labels)
        self._tokens = [torch.tensor(sequence, dtype=torch.long) for sequence in tokens]
        self._labels = [torch.tensor(label, dtype=torch.long) for label in labels]

    def __len__(self) -> int:
        return len(self._tokens)

    def __getitem__(self, index: int) -> Mapping[str, Tensor]:
        return {"input_ids": self._tokens[index], "labels": self._labels[index]}

    @property
    def lengths(self) -> list[int]:
        """Tokens of each example, labels included, where they are tokens."""
        return [len(tokens) + label.numel() for tokens, label in zip(self._tokens, self._labels, strict=True)]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Padding:
    """Makes a batch of examples by padding each to the longest.

    Attributes:
        pad: The number of the padding token.
    """

    pad: int

    def __call__(self, examples: Sequence[Mapping[str, Tensor]]) -> TokenBatch:
        """See `TokenBatch`."""
        tokens = [example["input_ids"] for example in examples]
        labels = [example["labels"] for example in examples]
        lengths = torch.tensor([len(sequence) for sequence in tokens])
        ids = _padded(tokens, self.pad)
        mask = (torch.arange(ids.shape[1])[None] < lengths[:, None]).long()
        made = torch.stack(labels) if labels[0].ndim == 0 else _padded(labels, IGNORED)
        return {"input_ids": ids, "attention_mask": mask, "labels": made}


@final
class ByLength(RandomSampler):
    """A fresh random order in which the examples of a batch have about the same length: less padding, faster steps.

    The shuffled examples are sorted by length within pools of 50 batches, and the batches are shuffled again. Like its
    base class it draws each example once, by the global random stream.

    Args:
        examples: What is drawn from.
        batch_size: Neighbours that will share a batch.
    """

    POOL = 50

    def __init__(self, examples: TokenExamples, *, batch_size: int) -> None:
        base: Any = super()
        base.__init__(examples)
        self._lengths = torch.tensor(examples.lengths)
        self._batch_size = batch_size

    def __iter__(self) -> Iterator[int]:
        order = torch.tensor([*super().__iter__()], dtype=torch.long)
        batches: list[Tensor] = []
        for pool in _cut(order, self.POOL * self._batch_size):
            batches += _cut(pool[self._lengths[pool].argsort(stable=True)], self._batch_size)
        # The smaller batch stays last: anywhere else it would shift the borders of all that follow.
        last = [batches.pop()] if batches and len(batches[-1]) < self._batch_size else []
        shuffled = [batches[int(place)] for place in torch.randperm(len(batches))]
        for batch in [*shuffled, *last]:
            yield from map(int, batch)


def _cut(order: Tensor, size: int) -> list[Tensor]:
    return [order[start : start + size] for start in range(0, len(order), size)]


def _padded(sequences: Sequence[Tensor], value: int) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence([*sequences], batch_first=True, padding_value=value)
