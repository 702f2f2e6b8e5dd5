"""The output side of classification in which an example has several labels, or none."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

from steelyard.adapters.scoring import Scoring


@final
@dataclass(frozen=True, kw_only=True)
class LabelsScoring(Scoring):
    """A logit for each label, shape (B, C), against 1 for those that an example has and 0 for the others, (B, C)."""

    def truth(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """The targets as integers."""
        del inputs
        return targets.long()

    def decisions(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """1 for every label that is likelier than not."""
        del targets
        return (outputs > 0).long()

    def same(self, one: Tensor, other: Tensor) -> Tensor:
        """The same labels."""
        return (one == other).all(dim=1)

    def marks(self, decisions: Tensor, targets: Tensor) -> Tensor:
        """The share of the labels that are right, those that an example rightly lacks among them."""
        return (decisions == targets).double().mean(dim=1)

    def scores(self, outputs: Tensor, decisions: Tensor) -> Tensor:
        """The mean logit of the labels that were given; of the others, its negative, where none was given.

        What an example lacks is most labels, as a rule: among them all, what speaks for the one would be lost.
        """
        given = decisions.to(outputs.dtype)
        none = given.sum(dim=1) == 0
        each = (outputs * given).sum(dim=1) / given.sum(dim=1).clamp(min=1)
        return torch.where(none, -outputs.mean(dim=1), each)

    def probabilities(self, outputs: Tensor, decisions: Tensor) -> Tensor:
        """The geometric mean of the probabilities of the labels that were given; of the lack of all, where none was."""
        given = decisions.to(outputs.dtype)
        none = given.sum(dim=1) == 0
        each = (logsigmoid(outputs) * given).sum(dim=1) / given.sum(dim=1).clamp(min=1)
        return torch.where(none, logsigmoid(-outputs).mean(dim=1), each).exp()

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean binary cross-entropy of the labels."""
        return binary_cross_entropy_with_logits(outputs, targets.to(outputs.dtype), reduction="none").mean(dim=1)

    def said(self, decision: Tensor) -> Sequence[int]:
        """The labels that were given."""
        return [int(label) for label in decision.nonzero()[:, 0]]

    def wanted(self, target: Tensor) -> Sequence[int]:
        """The labels that the example has."""
        return [int(label) for label in target.nonzero()[:, 0]]
