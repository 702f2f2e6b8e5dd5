"""A run over several ranks, seen from the process that launches them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from steelyard import folder
from steelyard.ranks.party import Lost, Party, Talk
from steelyard.ranks.rank import Rank
from steelyard.scorecard import Scorecard


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a prepared run knows of itself.

    Attributes:
        spec: The spec hash.
        fingerprint: Of the data, or None where the data module has none.
    """

    spec: str
    fingerprint: str | None


class Way(Protocol):
    """What each rank does, in three parts, so that all of them can be held to the same before the next begins."""

    def prepare(self) -> Facts:
        """Builds the run, changing nothing."""
        ...

    def carry(self, place: Path) -> Scorecard | None:
        """Trains; the first rank measures and keeps the scorecard."""
        ...

    def deliver(self, place: Path, scorecard: Scorecard) -> None:
        """Tells the trackers; only the first rank is asked to."""
        ...


class Spread:
    """The same three parts, each done by all ranks.

    Args:
        count: How many ranks.
        make: What each does, given which it is.
    """

    def __init__(self, count: int, make: Callable[[Rank], Way]) -> None:
        self._count = count
        self._party = Party(count, lambda talk: _follow(talk, make))

    def __enter__(self) -> Self:
        self._party.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._party.__exit__(kind, error, at)

    def prepare(self) -> Facts:
        """Lets all ranks prepare, the first one alone: what it downloads or makes, the others find.

        Raises:
            Refused: As in one process.
            Lost: If a rank fails, or has another spec than the first one.
        """
        self._party.say("prepare", to=[0])
        first: Facts = self._party.hear(0)
        others = range(1, self._count)
        self._party.say("prepare", to=others)
        for number in others:
            found: Facts = self._party.hear(number)
            if found != first:
                raise Lost(f"rank {number} has the spec {found.spec} and rank 0 has {first.spec}: nothing was trained")
        return first

    def carry(self, place: Path) -> Scorecard:
        """Lets all ranks train, and the first one measure.

        Raises:
            Refused: As in one process.
            Lost: If a rank fails or ends.
        """
        self._party.say(place)
        self._party.hear(0)
        return Scorecard.from_json(folder.read_json(place / "scorecard.json"))

    def deliver(self, place: Path, scorecard: Scorecard) -> None:
        """Lets the first rank tell the trackers, and waits until all have ended."""
        del place, scorecard
        self._party.say("deliver", to=[0])
        self._party.end()


def _follow(talk: Talk, make: Callable[[Rank], Way]) -> None:
    """What a rank does, at the word of the launching process."""
    way: Any = make(talk.rank)
    talk.hear()
    talk.tell(way.prepare())
    place: Path = talk.hear()
    card = way.carry(place)
    if card is not None:
        talk.tell("weighed")
        talk.hear()
        way.deliver(place, card)
