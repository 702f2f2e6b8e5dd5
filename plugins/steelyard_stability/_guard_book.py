"""What a train guard has seen, and what follows from it."""

import math
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from steelyard_stability._faults import Fault
from steelyard_stability._spikes import Kind, Seen
from steelyard_stability.train_guard import TrainGuard

EVIDENCE, CURVE = 50, 1000
"""Most faults that are looked into, and most points of a curve."""


class Action(StrEnum):
    """What is done about a bad step, besides keeping it from the optimizer."""

    SKIP = "left out"
    REWIND = "went back"
    STOP = "stopped"


@dataclass(kw_only=True)
class Book:
    """The counts and curves of a training.

    Attributes:
        steps: That were judged.
        kinds: Bad steps by kind.
        run: Bad steps in a row, since the last good one or since it went back.
        hard: Whether one of those was not finite.
        barren: Whether no good step came since it went back.
        rewinds: Times that it went back.
        shifts: New levels that were taken.
        faults: Evidence of the first ones.
        curve: Step, loss and gradient norm of good steps; thinned out, so that it does not grow.
        marks: Step, loss and gradient norm of bad steps; None for what is not finite or may not be seen.
    """

    steps: int = 0
    kinds: Counter[str] = field(default_factory=Counter[str])
    run: int = 0
    hard: bool = False
    barren: bool = False
    rewinds: int = 0
    shifts: int = 0
    faults: list[Fault] = field(default_factory=list[Fault])
    curve: list[tuple[int, float | None, float]] = field(default_factory=list[tuple[int, float | None, float]])
    marks: list[tuple[int, float | None, float | None]] = field(
        default_factory=list[tuple[int, float | None, float | None]]
    )
    stride: int = 1

    @property
    def bad(self) -> int:
        """Bad steps in all."""
        return self.kinds.total()

    @property
    def spikes(self) -> int:
        """Bad steps that were finite."""
        return sum(count for kind, count in self.kinds.items() if Kind(kind).spike)

    def add(self, seen: Seen, kind: Kind, *, step: int) -> None:
        """One more step."""
        if kind.bad:
            self._add_bad(kind)
            if len(self.marks) < CURVE:
                self.marks.append((step, _finite(seen.loss), _finite(seen.norm)))
        else:
            self.run, self.hard, self.barren = 0, False, False
            self.shifts += kind is Kind.SHIFT
            if self.steps % self.stride == 0:
                self.curve.append((step, seen.loss, seen.norm))
            if len(self.curve) > CURVE:
                del self.curve[1::2]
                self.stride *= 2
        self.steps += 1

    def turned_bad(self, kind: Kind) -> None:
        """A step that was counted as good looked bad at the second look."""
        self._add_bad(kind)

    def went_back(self) -> None:
        """To a snapshot."""
        self.rewinds += 1
        self.run, self.hard, self.barren = 0, False, True

    def state(self) -> dict[str, Any]:
        """In plain values."""
        return {
            **{name: getattr(self, name) for name in ("steps", "run", "hard", "barren", "rewinds", "shifts", "stride")},
            "kinds": {str(kind): count for kind, count in self.kinds.items()},
            "faults": [fault.state() for fault in self.faults],
            "curve": [[*point] for point in self.curve],
            "marks": [[*point] for point in self.marks],
        }

    @classmethod
    def of(cls, state: dict[str, Any]) -> Self:
        """The inverse of `state`."""
        given: dict[str, Any] = {
            **state,
            "kinds": Counter(state["kinds"]),
            "faults": [Fault.of(fault) for fault in state["faults"]],
            "curve": [tuple(point) for point in state["curve"]],
            "marks": [tuple(point) for point in state["marks"]],
        }
        return cls(**given)

    def _add_bad(self, kind: Kind) -> None:
        self.kinds[str(kind)] += 1
        self.run += 1
        self.hard |= not kind.spike


def decide(plugin: TrainGuard, book: Book, *, ruined: str) -> tuple[Action, str]:
    """What is to be done after a bad step that the book knows of, and why.

    Args:
        plugin: The settings.
        book: With that step.
        ruined: The weight, buffer or state that is not finite; "" where all are.
    """
    if plugin.policy == "stop":
        return Action.STOP, "the first bad step ends the training (stability.train_guard.policy=stop)"
    allowed = max(plugin.least, math.floor(plugin.share * book.steps))
    if book.bad > allowed:
        more = min(1.0, math.ceil(15 * book.bad / book.steps) / 10)
        fix = f"stability.train_guard.share={more:g} allows more"
        return Action.STOP, f"{book.bad} of {book.steps} steps were bad, and {allowed} are allowed ({fix})"
    if not ruined and book.run < plugin.in_a_row:
        return Action.SKIP, ""
    if plugin.policy == "rewind" and book.rewinds < plugin.rewinds and not book.barren:
        return Action.REWIND, f"{ruined} was not finite" if ruined else f"{book.run} bad steps in a row"
    if ruined:
        return Action.STOP, f"{ruined} is not finite, which leaving steps out cannot mend"
    if book.hard:
        went = f" after going back {book.rewinds} times" if book.rewinds else ""
        more = f"stability.train_guard.in_a_row={2 * book.run} allows more"
        return Action.STOP, f"{book.run} bad steps in a row{went} ({more})"
    # Spikes that do not end are a new level.
    return Action.SKIP, ""


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
