"""What a plugin gives back: numbers that know what they are worth, pictures, tables and sounds."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from steelyard.panel import Panel

EXAMPLES, TARGET = "examples", "target"
"""The table, not shown, of a section's numbers example by example, and its column with the right answers."""


class Status(StrEnum):
    """What became of a measurement. Zero never stands for "not measured"."""

    MEASURED = "measured"
    ESTIMATED = "estimated"
    """Computed from an assumption that `note` names, since nothing here can measure it."""
    SKIPPED = "skipped"
    FAILED = "failed"
    INVALID = "invalid"
    """There is a number, but a control says that it cannot be trusted; `note` says which."""


class Better(StrEnum):
    """The direction in which a number improves; None where neither is better."""

    LOWER = "lower"
    HIGHER = "higher"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One number with its unit, direction, interval, sample count and status.

    A plugin gives the short name ("epsilon"); the core completes it to `<challenge>.<plugin>.<metric>`.

    Attributes:
        name: Lower case words joined by underscores; the core puts challenge and plugin before it.
        value: Finite, or None where `status` is skipped or failed.
        status: See `Status`.
        better: The direction of improvement, or None.
        unit: "" for a pure number or fraction, else e.g. "s", "MiB", "FLOP".
        interval: Lower and upper end of the confidence interval at `level`, or None.
        level: The interval's confidence level.
        count: Examples or trials behind the value.
        at: The point of a curve, e.g. {"severity": 3} or {"radius": 0.1}.
        at_unit: Of the number in `at`, e.g. "pixel value"; "" where it has none.
        split: The data it looked at: train, val or test. What a private run gives away is marked by it.
        bounds: The full name of the quantity that it bounds, so that an audit's lower bound stands beside the promise.
        timing: True for what differs from run to run by nature.
        note: The assumption, or the reason of the status.
        meaning: What the number says, in one plain sentence for somebody who has never met it.

    Raises:
        ValueError: If value, status, interval and note contradict each other.
    """

    name: str
    value: float | None = None
    status: Status = Status.MEASURED
    better: Better | None = None
    unit: str = ""
    interval: tuple[float, float] | None = None
    level: float = 0.95
    count: int | None = None
    at: Mapping[str, str | float] = field(default_factory=dict[str, str | float])
    at_unit: str = ""
    split: str | None = None
    bounds: str | None = None
    timing: bool = False
    note: str = ""
    meaning: str = ""

    def __post_init__(self) -> None:
        if self.status in (Status.SKIPPED, Status.FAILED):
            if self.value is not None or not self.note:
                raise ValueError(f"{self.name}: a {self.status} measurement has a note that says why, and no value")
        elif self.value is None or not math.isfinite(self.value):
            raise ValueError(f"{self.name}: a {self.status} measurement needs a finite value, got {self.value}")
        if self.status in (Status.INVALID, Status.ESTIMATED) and not self.note:
            what = "which control failed" if self.status is Status.INVALID else "what it assumes"
            raise ValueError(f"{self.name}: an {self.status} measurement says in its note {what}")
        if self.interval is not None and not self.interval[0] <= self.interval[1]:
            raise ValueError(f"{self.name}: the interval {self.interval} is not in order")

    @property
    def stands(self) -> bool:
        """Whether its value may be judged and compared: measured, or estimated."""
        return self.status in (Status.MEASURED, Status.ESTIMATED)


def by_name(measurements: Iterable[Measurement]) -> dict[str, list[Measurement]]:
    """Measurements by full name, in the order of their first appearance."""
    found: dict[str, list[Measurement]] = {}
    for measurement in measurements:
        found.setdefault(measurement.name, []).append(measurement)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture for the report.

    Attributes:
        name: File name without ending; lower case words joined by underscores.
        title: What it shows, in a few words.
        png: The encoded picture.
        alt: The picture in words, for those who do not see it.
        split: The data that it shows.
        panel: How far it can be trusted, where somebody knows.
    """

    name: str
    title: str
    png: bytes
    alt: str
    split: str | None = None
    panel: Panel | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table for the report, kept as CSV.

    Attributes:
        name: File name without ending.
        title: What it lists.
        columns: Heads.
        rows: One sequence per row, as long as `columns`.
        split: The data that it shows.
        shown: False for rows that only programs read, such as `compare`: kept in the folder, and not on the page.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | float | int | bool | None]]
    split: str | None = None
    shown: bool = True

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"{self.name}: every row needs {len(self.columns)} cells")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """A sound for the report.

    Attributes:
        name: File name without ending; lower case words joined by underscores.
        title: What is heard, in a few words.
        wav: The sound as a WAV file.
        alt: The sound in words, for those who do not hear it.
        split: The data that is heard.
    """

    name: str
    title: str
    wav: bytes
    alt: str
    split: str | None = None


Artefact = Picture | Table | Sound
