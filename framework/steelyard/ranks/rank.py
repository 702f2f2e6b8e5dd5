"""Which of several processes this is."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Rank:
    """One of the processes that train one model.

    Attributes:
        number: From 0.
        count: How many there are; at least 2.
        meeting: A file that does not exist yet, where they find each other; no port is taken, so none can clash.
    """

    number: int
    count: int
    meeting: Path

    @property
    def first(self) -> bool:
        """True for the one that keeps the records, and measures when the others are gone."""
        return self.number == 0


def remark(rank: Rank) -> str:
    """What a reader of the scorecard should know."""
    return f"trained by {rank.count} processes; time, memory and FLOPs of the training are those of one of them"


class DealtOut:
    """Marks a loader that gives each rank its own part of every batch already."""
