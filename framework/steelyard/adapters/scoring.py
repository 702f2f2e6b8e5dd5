"""The output side of a task: what an output decides, and how right that is."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from steelyard.ignored import IGNORED


class Scoring(ABC):
    """How to read the raw output of a task; every result has one row per example.

    Attributes:
        forced: Whether the task's `forward` takes the targets after the inputs, to be told what came before each place.
    """

    forced: bool = False

    def truth(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """What is right: the targets of the batch, unless the inputs themselves are to be foretold."""
        del inputs
        return targets

    @abstractmethod
    def decisions(self, outputs: Any, targets: Tensor) -> Tensor:
        """What the output decides: integers (B,) or (B, ...); the targets say only which places count."""

    @abstractmethod
    def same(self, one: Tensor, other: Tensor) -> Tensor:
        """Whether two decisions on the same examples mean the same: booleans (B,)."""

    @abstractmethod
    def marks(self, decisions: Tensor, targets: Tensor) -> Tensor:
        """How right each decision is, from 0 to 1: shape (B,)."""

    @abstractmethod
    def scores(self, outputs: Any, decisions: Tensor) -> Tensor:
        """The raw, differentiable score that spoke for each decision: shape (B,); what attribution explains."""

    @abstractmethod
    def probabilities(self, outputs: Any, decisions: Tensor) -> Tensor:
        """The probability that the output gives to each decision: shape (B,), in [0, 1]."""

    @abstractmethod
    def losses(self, outputs: Any, targets: Tensor) -> Tensor:
        """The loss of each example: shape (B,), in nats."""

    @abstractmethod
    def said(self, decision: Tensor) -> Sequence[int]:
        """The classes or tokens of one decision, a row of `decisions`."""

    @abstractmethod
    def wanted(self, target: Tensor) -> Sequence[int]:
        """The classes or tokens of one target."""


@final
class ClassScoring(Scoring):
    """Logits over classes, shape (B, C), against integer targets, shape (B,)."""

    def decisions(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The most likely class."""
        del targets
        return outputs.argmax(dim=1)

    def marks(self, decisions: Tensor, targets: Tensor) -> Tensor:
        """1 for the right class, else 0."""
        return (decisions == targets).double()

    def scores(self, outputs: Tensor, decisions: Tensor) -> Tensor:
        """The logit of the class: explaining softmax outputs saturates."""
        return outputs.gather(1, decisions[:, None])[:, 0]

    def probabilities(self, outputs: Tensor, decisions: Tensor) -> Tensor:
        """The softmax probability of the class."""
        return outputs.softmax(dim=1).gather(1, decisions[:, None])[:, 0]

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy."""
        return torch.nn.functional.cross_entropy(outputs, targets, reduction="none")

    def same(self, one: Tensor, other: Tensor) -> Tensor:
        """The same class."""
        return one == other

    def said(self, decision: Tensor) -> Sequence[int]:
        """The class."""
        return [int(decision)]

    def wanted(self, target: Tensor) -> Sequence[int]:
        """The class."""
        return [int(target)]


@final
@dataclass(frozen=True, kw_only=True)
class TokenScoring(Scoring):
    """Logits over a vocabulary at every place, shape (B, T, V), against tokens, shape (B, T), where IGNORED pads.

    The targets are fed to the decoder (teacher forcing), so that each place is a decision of its own.
    """

    forced: bool = False

    def decisions(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The most likely token at every place that counts, IGNORED elsewhere."""
        return outputs.argmax(dim=2).masked_fill(targets == IGNORED, IGNORED)

    def marks(self, decisions: Tensor, targets: Tensor) -> Tensor:
        """The share of the places at which the token is right."""
        counted = targets != IGNORED
        return ((decisions == targets) & counted).sum(dim=1).double() / counted.sum(dim=1).clamp(min=1)

    def scores(self, outputs: Tensor, decisions: Tensor) -> Tensor:
        """The mean logit of the decided tokens."""
        return _mean_over(decisions, _picked(outputs, decisions))

    def probabilities(self, outputs: Tensor, decisions: Tensor) -> Tensor:
        """The geometric mean of the probabilities of the decided tokens."""
        return _mean_over(decisions, _picked(outputs.log_softmax(dim=2), decisions)).exp()

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean cross-entropy of the tokens."""
        return -_mean_over(targets, _picked(outputs.log_softmax(dim=2), targets))

    def same(self, one: Tensor, other: Tensor) -> Tensor:
        """The same token at every place."""
        return (one == other).all(dim=1)

    def said(self, decision: Tensor) -> Sequence[int]:
        """The tokens."""
        return [int(token) for token in decision if token != IGNORED]

    def wanted(self, target: Tensor) -> Sequence[int]:
        """The tokens."""
        return [int(token) for token in target if token != IGNORED]


def _picked(values: Tensor, tokens: Tensor) -> Tensor:
    return values.gather(2, tokens.clamp(min=0)[:, :, None])[:, :, 0]


def _mean_over(tokens: Tensor, values: Tensor) -> Tensor:
    counted = tokens != IGNORED
    return (values * counted).sum(dim=1) / counted.sum(dim=1).clamp(min=1)
