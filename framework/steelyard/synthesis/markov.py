"""The next level from the one before it, counted: what a model of sound has to beat."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0)
"""How many samples the prior may count for; what does best on the validation split is taken."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Markov:
    """A Markov chain of order one, or of order zero, over levels.

    A row of the chain is its counts, smoothed towards the frequency of the levels by a Dirichlet prior (MacKay and
    Peto 1995); the frequencies are smoothed by one count each. The first sample of a sound has no predecessor and is
    taken from the frequencies.

    Attributes:
        first: Probability of each level by itself (levels,).
        following: Probability of each level after each level (levels, levels), the earlier one first.
    """

    first: Tensor
    following: Tensor

    @classmethod
    def fitted(cls, train: Tensor, *, val: Tensor, levels: int) -> "Markov":
        """The chain that fits `train` (N, T), with the strength of prior that does best on `val` (M, T)."""
        first = (torch.bincount(train.flatten(), minlength=levels) + 1.0).double()
        first = first / first.sum()
        pairs = train[:, :-1] * levels + train[:, 1:]
        counts = torch.bincount(pairs.flatten(), minlength=levels**2).reshape(levels, levels).double()
        chains = [
            cls(first=first, following=(counts + strength * first) / (counts.sum(dim=1, keepdim=True) + strength))
            for strength in STRENGTHS
        ]
        return min(chains, key=lambda chain: float(chain.bits(val).mean()))

    def bits(self, codes: Tensor) -> Tensor:
        """Bits per sample of each sound (N,) of codes (N, T)."""
        begun, went_on = self.first[codes[:, :1]], self.following[codes[:, :-1], codes[:, 1:]]
        return -torch.cat([begun, went_on], dim=1).log2().mean(dim=1)

    def alone(self, codes: Tensor) -> Tensor:
        """Bits per sample of each sound (N,) where no sample knows of another."""
        return -self.first[codes].log2().mean(dim=1)
