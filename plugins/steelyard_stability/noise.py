"""`stability.noise`: how often does the decision change when the input is a little noisy?"""

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


@dataclass(frozen=True, kw_only=True)
class Noise(Plugin):
    """Adds Gaussian noise to the test inputs and counts the decisions that change; needs no label for that.

    Every example gets one draw of noise, which the level scales, and the sum is clipped to the raw range. The draw
    depends on the seed of the run and on the place of the example in the split, not on the batch size. Where the data
    has no natural range, the level is in standard deviations of each input value over the test split.

    Level 0 always runs as a control: a model whose output moves there is not deterministic, and then every number of
    this plugin is `invalid`. So it is where the model gives one answer to everything: nothing could ever flip it.
    """

    levels: Annotated[
        tuple[float, ...], Option("standard deviations of the noise, beside the control at 0", unit="raw unit")
    ] = (0.05, 0.1, 0.2, 0.3)

    def preflight(self, draft: Draft) -> Iterator[Problem]:
        """At least one level above 0, and none below."""
        del draft
        if not self.levels or min(self.levels) < 0 or max(self.levels) == 0:
            yield Problem(
                f"levels {list(self.levels)} must be at least 0, and one of them above it",
                fix="stability.noise.levels=[0.05,0.1,0.2,0.3]",
            )

    def attach(self, draft: Draft) -> Attachment:
        """Claims no seam: it looks at the trained model only."""
        del draft
        from steelyard_stability._noise import NoiseAttachment

        return NoiseAttachment(self)
