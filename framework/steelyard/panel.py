"""What is known of how far a picture can be trusted: verdicts, curves and facts that stand beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Mark(StrEnum):
    """What a check says."""

    GOOD = "good"
    DOUBTFUL = "doubtful"
    BAD = "bad"
    OPEN = "open"
    """It cannot be said, or nothing was promised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One question and its answer.

    Attributes:
        name: What is asked, in a few words.
        mark: The answer at a glance.
        words: The answer in words, with its numbers.
    """

    name: str
    mark: Mark
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelLine:
    """One line of a chart.

    Attributes:
        name: For the legend.
        points: (across, up), from left to right.
    """

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelChart:
    """Lines over one axis, the first one being what the panel is about.

    Attributes:
        title: What it shows.
        x_label: With unit.
        y_label: With unit.
        lines: At most five.
    """

    title: str
    x_label: str
    y_label: str
    lines: tuple[PanelLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """What stands beside a picture.

    Attributes:
        verdict: All in one line.
        checks: One by one.
        charts: The curves behind them.
        facts: (name, text): how the picture was made.
    """

    verdict: Check
    checks: tuple[Check, ...] = ()
    charts: tuple[PanelChart, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Panel":
        """The inverse of `dataclasses.asdict`, after a way through JSON."""
        return cls(
            verdict=_check(data["verdict"]),
            checks=tuple(_check(row) for row in data["checks"]),
            charts=tuple(_chart(row) for row in data["charts"]),
            facts=tuple((str(name), str(text)) for name, text in data["facts"]),
        )


def _check(data: Mapping[str, Any]) -> Check:
    return Check(name=data["name"], mark=Mark(data["mark"]), words=data["words"])


def _chart(data: Mapping[str, Any]) -> PanelChart:
    lines: Sequence[Mapping[str, Any]] = data["lines"]
    return PanelChart(
        title=data["title"],
        x_label=data["x_label"],
        y_label=data["y_label"],
        lines=tuple(
            PanelLine(name=line["name"], points=tuple((float(x), float(y)) for x, y in line["points"]))
            for line in lines
        ),
    )
