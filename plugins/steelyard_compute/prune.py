"""`compute.prune`: what would the finished model lose without its smallest weights?"""

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
class Prune(Plugin):
    """Sets the smallest weights of the finished model to 0 and weighs it again (Han et al. 2015, without retraining).

    Smallest in absolute value over all linear layers, embeddings and convolutions together; biases and norms stay. The
    run's own weights stay as they are. Time is not told: torch multiplies by a 0 as by any other number, so what is
    saved is memory, where the model is stored as a mask and the numbers that are left.
    """

    fractions: Annotated[tuple[float, ...], Option("fractions of the weights that go, from 0 to 1")] = (
        0.3,
        0.5,
        0.7,
        0.9,
    )

    def preflight(self, draft: Draft) -> Iterator[Problem]:
        """There must be something to take away, and something left."""
        del draft
        if not self.fractions or not all(0 < share < 1 for share in self.fractions):
            yield Problem(
                f"fractions are between 0 and 1, got {[*self.fractions]}", fix="compute.prune.fractions=[0.5]"
            )

    def attach(self, draft: Draft) -> Attachment:
        """Claims no seam."""
        del draft
        from steelyard_compute._prune import PruneAttachment

        return PruneAttachment(self)
