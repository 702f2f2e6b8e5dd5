"""The output side of a model that foretells every sample of a sound."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from steelyard.adapters.scoring import Scoring
from steelyard.models.mu_law import encode


@final
@dataclass(frozen=True, kw_only=True)
class LevelScoring(Scoring):
    """Logits over mu-law levels for every sample, shape (B, levels, T); right is the level that the sample has.

    The task's `forward` takes the samples and, from the batch's own targets, what they are made to say.

    Attributes:
        levels: Of the mu-law.
    """

    levels: int
    forced: bool = True

    def truth(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """The level of every sample (B, T)."""
        del targets
        return encode(inputs, levels=self.levels)

    def decisions(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The likeliest level of every sample (B, T)."""
        del targets
        return outputs.argmax(dim=1)

    def same(self, one: Tensor, other: Tensor) -> Tensor:
        """The same level at more than half of the samples: of thousands of decisions, one always changes."""
        return (one == other).double().mean(dim=1) > 0.5

    def marks(self, decisions: Tensor, targets: Tensor) -> Tensor:
        """The share of the samples whose level is right."""
        return (decisions == targets).double().mean(dim=1)

    def scores(self, outputs: Tensor, decisions: Tensor) -> Tensor:
        """The mean logit of the decided levels."""
        return outputs.gather(1, decisions[:, None])[:, 0].mean(dim=1)

    def probabilities(self, outputs: Tensor, decisions: Tensor) -> Tensor:
        """The geometric mean of the probabilities of the decided levels."""
        return torch.exp(-self.losses(outputs, decisions))

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean cross-entropy of a sample."""
        # A model's logits lie with the levels last, and so they are worked on quickest.
        rows = outputs.transpose(1, 2).flatten(0, 1)
        found = torch.nn.functional.cross_entropy(rows, targets.flatten(), reduction="none")
        return found.view(targets.shape).mean(dim=1)

    def said(self, decision: Tensor) -> Sequence[int]:
        """Nothing: thousands of levels tell nobody anything."""
        del decision
        return []

    def wanted(self, target: Tensor) -> Sequence[int]:
        """Nothing, for the same reason."""
        del target
        return []
