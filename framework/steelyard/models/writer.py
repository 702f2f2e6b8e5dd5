"""Models that write: what the tasks ask of them."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from torch import Tensor

from steelyard.data.tokens import IGNORED


@runtime_checkable
class Writer(Protocol):
    """A model that gives logits for a known answer, and can write an answer of its own."""

    def __call__(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Logits (B, T, vocabulary) for each token of `labels`, knowing those before it."""
        ...

    def write(self, batch: Mapping[str, Tensor], *, beams: int, most: int) -> Tensor:
        """Token numbers (B, at most `most`) of the answer found by beam search, one beam being greedy.

        As in `labels`, the token that ends an answer belongs to it, and `IGNORED` fills up what comes behind.
        """
        ...


def ended(written: Tensor, *, end: int) -> Tensor:
    """Token numbers (B, T) with `IGNORED` behind the first `end` of each row."""
    ends = (written == end).long()
    return written.masked_fill(ends.cumsum(dim=1) > ends, IGNORED)
