"""Models that write: what the tasks ask of them."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Writer(Protocol):
    """A model that gives logits for a known answer, and can write an answer of its own."""

    def __call__(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Logits (B, T, vocabulary) for each token of `labels`, knowing those before it."""
        ...

    def write(self, batch: Mapping[str, Tensor], *, beams: int, most: int) -> Tensor:
        """Token numbers (B, at most `most`), found by beam search."""
        ...
