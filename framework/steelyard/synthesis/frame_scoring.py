"""The output side of a model that foretells the frames of a spectrogram."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from steelyard.adapters.scoring import Scoring
from steelyard.models.mel import LogMel

PARTS = 1000
"""Of a nat: truth and decisions are whole numbers of them, finer than anybody hears."""
NEAR = math.log(2)
"""Energies that differ by less than a factor of 2 (3 dB) count as the same."""


@final
@dataclass(frozen=True, kw_only=True)
class FrameScoring(Scoring):
    """Log energies in mel bands, before and after they are refined, shape (B, 2, mels, frames), in nats.

    Right are those of the sound itself. Truth and decisions are integers (B, mels, frames), in thousandths of a nat.

    Attributes:
        mel: Makes the spectrogram of a sound.
    """

    mel: LogMel
    forced: bool = True

    def truth(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """The spectrogram of the sounds (B, T)."""
        del targets
        return _whole(self.mel(inputs))

    def decisions(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The refined spectrogram."""
        del targets
        return _whole(outputs[:, 1])

    def same(self, one: Tensor, other: Tensor) -> Tensor:
        """Within 3 dB at more than half of the places: of thousands of decisions, one always changes."""
        return _near(one, other) > 0.5

    def marks(self, decisions: Tensor, targets: Tensor) -> Tensor:
        """The share of the places that are right within 3 dB."""
        return _near(decisions, targets)

    def scores(self, outputs: Tensor, decisions: Tensor) -> Tensor:
        """How much of the decided spectrogram, less its mean, is in the output: the mean product over the places.

        Linear in the output, as a logit is; the distance from the decision would have no gradient at the decision.
        """
        shape = decisions.to(outputs.dtype) / PARTS
        return (outputs[:, 1] * (shape - shape.mean(dim=(1, 2), keepdim=True))).mean(dim=(1, 2))

    def probabilities(self, outputs: Tensor, decisions: Tensor) -> Tensor:
        """exp(-mean absolute difference): the likelihood under Laplace's law of scale 1 nat, as a part of the largest.

        The model gives no distribution, so this says how close a decision is, not how sure the model is of it.
        """
        return (-_distance(outputs[:, 1], decisions)).exp()

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean absolute error before and after refining, added up."""
        return _distance(outputs[:, 0], targets) + _distance(outputs[:, 1], targets)

    def said(self, decision: Tensor) -> Sequence[int]:
        """Nothing: thousands of energies tell nobody anything."""
        del decision
        return []

    def wanted(self, target: Tensor) -> Sequence[int]:
        """Nothing, for the same reason."""
        del target
        return []


def _whole(nats: Tensor) -> Tensor:
    return (nats.detach() * PARTS).round().long()


def _near(one: Tensor, other: Tensor) -> Tensor:
    return ((one - other).abs() < NEAR * PARTS).double().mean(dim=(1, 2))


def _distance(nats: Tensor, whole: Tensor) -> Tensor:
    return (nats - whole.to(nats.dtype) / PARTS).abs().mean(dim=(1, 2))
