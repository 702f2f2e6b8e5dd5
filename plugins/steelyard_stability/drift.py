"""`stability=drift`: do the test examples come from the same world as the validation examples?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from steelyard.option import Option
from steelyard.plugin import Plugin
from steelyard.problem import Problem

if TYPE_CHECKING:
    from steelyard.attachment import Attachment
    from steelyard.draft import Draft

VIEWS = 2
"""Answers and features: each gets its share of `alpha`."""


@dataclass(frozen=True, kw_only=True)
class Drift(Plugin):
    """Compares what the model makes of the test examples with what it makes of the validation examples; needs no label.

    Two views: the probabilities of the classes, and random directions through the inputs of the model's last linear
    layer. The effect is the largest gap between two distribution functions (Kolmogorov and Smirnov's distance) over all
    of a view's numbers: 0 is the same distribution, 1 is none in common. Whether it is more than chance is told by a
    permutation test of that very maximum, which is exact for any number of columns.

    An alarm takes both: a gap that chance does not explain, and one that is large enough to matter. Without the second,
    any difference at all would be an alarm once there are enough examples.

    Noise in place of the test examples is the control: a model to which even that looks familiar cannot notice drift,
    and every number is `invalid`.
    """

    examples: Annotated[int, Option("examples of each split at most, the first ones", ge=10)] = 1000
    least: Annotated[float, Option("smallest gap that matters", ge=0, lt=1)] = 0.1
    alpha: Annotated[float, Option("probability of an alarm where nothing has changed, at most", gt=0, lt=1)] = 0.05
    permutations: Annotated[int, Option("worlds without drift that are drawn", ge=19)] = 199
    directions: Annotated[int, Option("random directions through the features", ge=1)] = 64

    def preflight(self, draft: Draft) -> Iterator[Problem]:
        """Enough permutations for a p-value as small as is asked for."""
        del draft
        needed = round(VIEWS / self.alpha)
        if self.permutations + 1 < needed:
            yield Problem(
                f"{self.permutations} permutations give no p-value below {1 / (self.permutations + 1):.2g}, and each "
                f"of {VIEWS} views must come below {self.alpha / VIEWS:.2g}",
                fix=f"stability.drift.permutations={needed - 1}",
            )

    def attach(self, draft: Draft) -> Attachment:
        """Claims no seam: it looks at the trained model only."""
        del draft
        from steelyard_stability._drift import DriftAttachment

        return DriftAttachment(self)
