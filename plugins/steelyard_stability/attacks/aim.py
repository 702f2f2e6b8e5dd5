"""What an attack is up to: the answers it wants to change, and the losses that it climbs."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, final

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from steelyard.adapters import Scoring

Ask = Callable[[Tensor, Tensor], Any]
"""Inputs (b, ...) and the numbers (b,) of the examples that they belong to -> the task's raw output."""


class Climb(StrEnum):
    """Which loss is climbed."""

    LIKELIHOOD = "likelihood"
    """Minus the logarithm of the probability of the decision; for classes the cross-entropy."""
    MARGIN = "margin"
    """The best other logit minus that of the decision (Carlini and Wagner 2017)."""
    RATIO = "ratio"
    """That margin over the distance from the first to the third logit (DLR; Croce and Hein 2020)."""
    TARGET = "target"
    """The logit of one other class minus that of the decision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A loss to climb.

    Attributes:
        climb: Which.
        rank: For a target, which of the other classes: 1 is the most likely one on the clean input.
    """

    climb: Climb = Climb.LIKELIHOOD
    rank: int = 1


LIKELIHOOD = Loss()


class Aim(ABC):
    """The decisions of a model on some examples, and how to tell that they have changed.

    Attributes:
        ask: How the model is asked.
        climbs: The losses that there are.
    """

    ask: Ask
    climbs: frozenset[Climb]

    @property
    @abstractmethod
    def others(self) -> int:
        """How many other decisions can be aimed at one by one."""

    @abstractmethod
    def fooled(self, outputs: Any, rows: Tensor) -> Tensor:
        """Whether each decision differs from the clean one: booleans (b,)."""

    @abstractmethod
    def losses(self, outputs: Any, rows: Tensor, loss: Loss) -> Tensor:
        """What is climbed, differentiable: (b,)."""

    @abstractmethod
    def total(self, rows: Tensor, loss: Loss) -> Callable[[Any], Tensor]:
        """Of outputs for these rows the sum of the losses (), where only its gradient is asked for, step after step."""


@final
@dataclass(frozen=True, kw_only=True)
class ClassAim(Aim):
    """One of several classes; a decision is the largest logit, the first of equal ones.

    Attributes:
        ask: Gives logits (b, C).
        decisions: The decisions to be changed (N,).
        order: The other classes of each example, the most likely on the clean input first (N, C - 1).
        climbs: A ratio takes three classes.
    """

    ask: Ask
    decisions: Tensor
    order: Tensor
    climbs: frozenset[Climb]

    @staticmethod
    def of(ask: Ask, logits: Tensor, decisions: Tensor | None = None) -> "ClassAim":
        """From the clean logits (N, C), and the decisions to be changed where they are not the model's own."""
        decisions = logits.argmax(dim=1) if decisions is None else decisions
        order = logits.scatter(1, decisions[:, None], -torch.inf).argsort(dim=1, descending=True, stable=True)[:, :-1]
        few = frozenset({Climb.RATIO}) if logits.shape[1] < 3 else frozenset[Climb]()
        return ClassAim(ask=ask, decisions=decisions, order=order, climbs=frozenset(Climb) - few)

    @property
    def others(self) -> int:
        """All other classes."""
        return self.order.shape[1]

    def fooled(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """Another class."""
        return outputs.argmax(dim=1) != self.decisions[rows]

    def losses(self, outputs: Tensor, rows: Tensor, loss: Loss) -> Tensor:
        """See `Climb`."""
        decisions = self.decisions[rows]
        if loss.climb is Climb.LIKELIHOOD:
            return cross_entropy(outputs, decisions, reduction="none")
        own = outputs.gather(1, decisions[:, None])[:, 0]
        if loss.climb is Climb.TARGET:
            return outputs.gather(1, self.order[rows, loss.rank - 1][:, None])[:, 0] - own
        margin = outputs.scatter(1, decisions[:, None], -torch.inf).amax(dim=1) - own
        if loss.climb is Climb.MARGIN:
            return margin
        highest = outputs.topk(3, dim=1).values
        return margin / (highest[:, 0] - highest[:, 2] + 1e-12)

    def total(self, rows: Tensor, loss: Loss) -> Callable[[Tensor], Tensor]:
        """Summed inside the cross-entropy, whose way back is quicker then."""
        if loss.climb is Climb.LIKELIHOOD:
            decisions = self.decisions[rows]
            return lambda outputs: cross_entropy(outputs, decisions, reduction="sum")
        return lambda outputs: self.losses(outputs, rows, loss).sum()


@final
@dataclass(frozen=True, kw_only=True)
class ScoringAim(Aim):
    """Decisions of any kind, as the scoring of the task reads them.

    Attributes:
        ask: Gives the raw outputs.
        scoring: How to read them.
        decisions: The clean decisions (N, ...).
        targets: The targets (N, ...), which say only which places count.
        climbs: The probability of the decision is all that every task has.
    """

    ask: Ask
    scoring: Scoring
    decisions: Tensor
    targets: Tensor
    climbs: frozenset[Climb] = frozenset({Climb.LIKELIHOOD})

    @property
    def others(self) -> int:
        """None: nobody lists them."""
        return 0

    def fooled(self, outputs: Any, rows: Tensor) -> Tensor:
        """A decision that does not mean the same."""
        return ~self.scoring.same(self.scoring.decisions(outputs, self.targets[rows]), self.decisions[rows])

    def losses(self, outputs: Any, rows: Tensor, loss: Loss) -> Tensor:
        """Minus the logarithm of the probability of the decision."""
        assert loss.climb is Climb.LIKELIHOOD
        chances = self.scoring.probabilities(outputs, self.decisions[rows])
        return -chances.clamp(min=torch.finfo(chances.dtype).tiny).log()

    def total(self, rows: Tensor, loss: Loss) -> Callable[[Any], Tensor]:
        """Summed up."""
        return lambda outputs: self.losses(outputs, rows, loss).sum()
