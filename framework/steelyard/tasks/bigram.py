"""The model that every language model has to beat: how often a token follows another."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor


@final
@dataclass(frozen=True, kw_only=True)
class Bigram:
    """Interpolated absolute discounting (Ney, Essen and Kneser 1994).

    With counts c, p(w | v) = max(c(v, w) - d, 0) / c(v) + d n(v) / c(v) p(w), where n(v) is the number of different
    tokens seen after v, d = n1 / (n1 + 2 n2) for the pairs n1 and n2 seen once and twice, and p(w) the frequency of w
    with one added for every token.

    Attributes:
        pairs: (v, w) -> c(v, w).
        firsts: c(v) of each v (V,).
        kinds: n(v) of each v (V,).
        frequencies: p(w) (V,).
        discount: d.
    """

    pairs: Mapping[tuple[int, int], int]
    firsts: Tensor
    kinds: Tensor
    frequencies: Tensor
    discount: float

    @classmethod
    def of(cls, before: Tensor, after: Tensor, *, size: int) -> "Bigram":
        """Counted in pairs of neighbours.

        Args:
            before: Token numbers (N,).
            after: Those that follow them (N,).
            size: V, how many tokens there are.
        """
        untyped: Any = torch.stack([before, after], dim=1)
        found, counts = untyped.unique(dim=0, return_counts=True)
        once, twice = int((counts == 1).sum()), int((counts == 2).sum())
        seen = torch.bincount(after, minlength=size).double() + 1
        return cls(
            pairs={(int(v), int(w)): int(count) for (v, w), count in zip(found, counts, strict=True)},
            firsts=torch.bincount(before, minlength=size),
            kinds=torch.bincount(found[:, 0], minlength=size),
            frequencies=seen / seen.sum(),
            discount=once / (once + 2 * twice) if once else 0.5,
        )

    def losses(self, before: Tensor, after: Tensor) -> Tensor:
        """-log p(after | before) of each pair (N,), in nats."""
        pairs = zip(before, after, strict=True)
        counts = torch.tensor([self.pairs.get((int(v), int(w)), 0) for v, w in pairs], dtype=torch.double)
        total = self.firsts[before].double()
        known = (counts - self.discount).clamp(min=0) / total.clamp(min=1)
        rest = torch.where(total > 0, self.discount * self.kinds[before] / total.clamp(min=1), 1.0)
        return -(known + rest * self.frequencies[after]).log()
