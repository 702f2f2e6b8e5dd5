"""`stability=calibration`: is the model as often right as it is sure?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from steelyard.option import Option
from steelyard.plugin import Plugin

if TYPE_CHECKING:
    from steelyard.attachment import Attachment
    from steelyard.draft import Draft


@dataclass(frozen=True, kw_only=True)
class Calibration(Plugin):
    """Compares the probability of a decision with how often such decisions are right, on the test split.

    The expected calibration error (Naeini et al. 2015) of a perfectly calibrated model is not 0 but grows as examples
    get fewer: the null band says what such a model would show on these very probabilities, and a model inside it cannot
    be told from a calibrated one. Beside it stand the Brier score, the negative
    log-likelihood, temperature scaling (Guo et al. 2017), fitted on the
    validation split, and sets of classes that hold the truth with a promised frequency (split conformal prediction,
    Sadinle et al. 2019), calibrated there too.
    """

    bins: Annotated[int, Option("bins of equal width for the calibration error", ge=2)] = 15
    draws: Annotated[int, Option("worlds of a perfectly calibrated model that are drawn for the null band", ge=20)] = (
        200
    )
    miscoverage: Annotated[float, Option("share of examples whose truth a conformal set may miss", gt=0, lt=1)] = 0.1

    examples: Annotated[int, Option("examples of each split at most, the first ones", ge=2)] = 10_000

    def attach(self, draft: Draft) -> Attachment:
        """Claims no seam: it looks at the trained model only."""
        del draft
        from steelyard_stability._calibration import CalibrationAttachment

        return CalibrationAttachment(self)
