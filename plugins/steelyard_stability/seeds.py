"""`stability=seeds`: how much of an answer is the training's luck?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from steelyard.option import Option
from steelyard.plugin import Plugin

if TYPE_CHECKING:
    from steelyard.attachment import Attachment
    from steelyard.draft import Draft
    from steelyard.measurement import Artefact, Measurement
    from steelyard.stored import StoredRun

ENOUGH = 5
"""Seeds below which nothing is said of seeds that were not run."""


@dataclass(frozen=True, kw_only=True)
class Seeds(Plugin):
    """Trains siblings that differ in their seed alone, and compares their answers example by example.

    Runs of one config: spread of the accuracy, and churn, the share of the test examples on which two of them give
    different answers. Configs against each other: the paired difference with an interval that counts both the seeds and
    the examples, and McNemar's exact test. With fewer than 5 seeds on either side a difference is one of these runs and
    of no others. Runs on other test examples are not compared.
    """

    count: Annotated[int, Option("runs, with the seeds from that of the run on", ge=2)] = 5

    def attach(self, draft: Draft) -> Attachment:
        """Claims no seam: it keeps the answers of the trained model."""
        del draft
        from steelyard_stability._seeds import SeedsAttachment

        return SeedsAttachment()

    def trials(self, config: Mapping[str, Any]) -> Iterator[Sequence[str]]:
        """The siblings, without the run itself."""
        first = int(config["seed"])
        for seed in range(first + 1, first + self.count):
            yield (f"seed={seed}",)

    def compare(self, runs: Sequence[StoredRun]) -> Iterator[Measurement | Artefact]:
        """Spread, churn and paired differences over all runs that kept their answers."""
        from steelyard_stability._siblings import compared

        return compared(runs)
