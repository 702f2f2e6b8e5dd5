"""The output side of regression."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from steelyard.adapters.scoring import Scoring

PARTS = 1000
"""Of the scale: truth and decisions are whole numbers of them."""


@final
@dataclass(frozen=True, kw_only=True)
class ValueScoring(Scoring):
    """Values, shape (B,), (B, 1) or (B, D), against targets of the same shape.

    Decisions are integers, in thousandths of the scale. The model gives no distribution, so `probabilities` says how
    near an output is to a decision, not how sure the model is of it.

    Attributes:
        scale: A difference that matters, in units of the targets: two values nearer than that are the same answer.
    """

    scale: float = 1.0

    def truth(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """The targets in thousandths of the scale."""
        del inputs
        return self._whole(targets)

    def decisions(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The output itself."""
        del targets
        return self._whole(outputs)

    def same(self, one: Tensor, other: Tensor) -> Tensor:
        """Nearer than the scale, in every value."""
        return ((one - other).abs() < PARTS).reshape(len(one), -1).all(dim=1)

    def marks(self, decisions: Tensor, targets: Tensor) -> Tensor:
        """exp(-mean absolute difference in scales): 1 where it is right."""
        return (-(decisions - targets).double().abs().reshape(len(targets), -1).mean(dim=1) / PARTS).exp()

    def scores(self, outputs: Tensor, decisions: Tensor) -> Tensor:
        """The value itself, whatever was decided: what raises it speaks for it; the mean of several."""
        del decisions
        return outputs.reshape(len(outputs), -1).mean(dim=1)

    def probabilities(self, outputs: Tensor, decisions: Tensor) -> Tensor:
        """exp(-mean absolute difference in scales): the likelihood under Laplace's law, as a part of the largest."""
        return (-self._off(outputs, decisions).abs().mean(dim=1)).exp()

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Half the mean squared difference in scales: under a normal law of this width, up to a constant, in nats."""
        return self._off(outputs, targets).square().mean(dim=1) / 2

    def said(self, decision: Tensor) -> Sequence[int]:
        """The values in thousandths of the scale."""
        return [int(value) for value in decision.flatten()]

    def wanted(self, target: Tensor) -> Sequence[int]:
        """The values in thousandths of the scale."""
        return [int(value) for value in target.flatten()]

    def told(self, numbers: Sequence[int]) -> str:
        """Numbers of `said` and `wanted` in units of the targets."""
        return ", ".join(f"{number * self.scale / PARTS:.4g}" for number in numbers)

    def _whole(self, values: Tensor) -> Tensor:
        """(B,) for one value, (B, D) for several."""
        whole = (values.detach().double() * (PARTS / self.scale)).round().long().reshape(len(values), -1)
        return whole[:, 0] if whole.shape[1] == 1 else whole

    def _off(self, outputs: Tensor, whole: Tensor) -> Tensor:
        """How far the outputs are from whole numbers of parts, in scales (B, D)."""
        flat = outputs.reshape(len(outputs), -1)
        return flat / self.scale - whole.reshape(len(whole), -1).to(flat.dtype) / PARTS
