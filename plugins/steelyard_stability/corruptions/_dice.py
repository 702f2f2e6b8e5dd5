# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Random numbers that belong to an example, a kind and a severity, whatever batch the example comes in."""

from collections.abc import Callable, Sequence
from typing import Any, final
from zlib import crc32

import numpy as np
import torch
from torch import Tensor


@final
class Dice:
    """One stream per example: (seed, kind, severity, number) gives the same bytes in any batch and on any device.

    Args:
        seed: The seed of the run.
        kind: Name of the corruption.
        severity: 1 to 5.
        numbers: Places of the examples in the split (B,).

    Attributes:
        streams: One for each example.
    """

    def __init__(self, seed: int, *, kind: str, severity: int, numbers: Sequence[int]) -> None:
        self._roots = [[seed, crc32(kind.encode()), severity, number] for number in numbers]
        self.streams = [np.random.default_rng(root) for root in self._roots]

    def __len__(self) -> int:
        return len(self.streams)

    def again(self) -> "Dice":
        """The same numbers from the beginning."""
        self.streams = [np.random.default_rng(root) for root in self._roots]
        return self

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers (B, *shape)."""
        return self._stacked(lambda stream: stream.standard_normal(shape, dtype=np.float32))

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform numbers in [low, high): (B, *shape)."""
        return self._stacked(lambda stream: stream.random(shape, dtype=np.float32)) * (high - low) + low

    def whole(self, *shape: int, low: int, high: int) -> Tensor:
        """Whole numbers from `low` to `high`, both included: (B, *shape)."""
        return self._stacked(lambda stream: stream.integers(low, high, size=shape, endpoint=True))

    def poisson(self, rates: Tensor) -> Tensor:
        """Counts with these expected values, shaped as they are: (B, ...)."""
        means = rates.double().cpu().numpy()
        drawn = [stream.poisson(mean).astype(np.float32) for stream, mean in zip(self.streams, means, strict=True)]
        return torch.from_numpy(np.stack(drawn))

    def order(self, count: int) -> Tensor:
        """A permutation of `count` places for each example: (B, count)."""
        return self._stacked(lambda stream: stream.permutation(count))

    def _stacked(self, draw: Callable[[np.random.Generator], Any]) -> Tensor:
        return torch.from_numpy(np.stack([np.asarray(draw(stream)) for stream in self.streams]))
