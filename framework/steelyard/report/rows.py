"""Measurements as rows of a table."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from steelyard.measurement import Measurement, Status
from steelyard.report.numbers import Shown, shown_measurement
from steelyard.report.words import arrow, direction, metric, point, population, words


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measurement, ready to print.

    Attributes:
        name: Full name.
        label: The metric in words, with its point.
        place: The point alone, in words.
        along: Whether it lies along a number.
        shown: The value, or None.
        exact: The value in full precision, for machines that read the page.
        status: "" if measured, else the status.
        arrow: The sign of what is better.
        direction: What is better, in words.
        level: Of the interval: "95 %".
        population: What stands behind it.
        count: Examples or trials, or None.
        note: The assumption, or the reason of the status.
        meaning: What the number says, in a sentence.
        bounds: The quantity it bounds, or "".
        timing: True for what differs from run to run by nature.
    """

    name: str
    label: str
    place: str
    along: bool
    shown: Shown | None
    exact: str
    status: str
    arrow: str
    direction: str
    level: str
    population: str
    count: int | None
    note: str
    meaning: str
    bounds: str
    timing: bool


def rows(measurements: Sequence[Measurement], key: str) -> list[Row]:
    """The rows of one name in the section `key`; each says what it means unless the one before it did.

    The note of numbers that were measured stands with the first of them that has it; for the others see `once`.
    """
    found: list[Row] = []
    meaning = note = ""
    for item in measurements:
        measured = item.status is Status.MEASURED
        shown = replace(
            item,
            meaning="" if item.meaning == meaning else item.meaning,
            note="" if measured and item.note == note else item.note,
        )
        meaning, note = item.meaning, item.note if measured else note
        found.append(row(shown, key))
    return found


def once(found: Iterable[Row]) -> list[Row]:
    """The rows of a section, with every reason why a number is missing or not to be trusted said once.

    Points of a curve that are missing one after the other for the same reason become one row.
    """
    shown: list[Row] = []
    reasons: set[str] = set()
    before: Row | None = None
    first = ""
    for item in found:
        again = before is not None and _alike(before, item)
        before = item
        if again:
            shown[-1] = replace(shown[-1], label=f"{first} to {item.place}")
            continue
        first = item.label
        if item.status in (Status.SKIPPED, Status.FAILED, Status.INVALID):
            clauses = [clause for clause in item.note.split("; ") if clause]
            new = [clause for clause in clauses if clause not in reasons]
            reasons.update(clauses)
            item = replace(item, note="; ".join(new if new == clauses else ["as above", *new]))
        shown.append(item)
    return shown


def _alike(one: Row, other: Row) -> bool:
    nothing = one.shown is None and other.shown is None and one.along and other.along
    return nothing and (one.name, one.status, one.note) == (other.name, other.status, other.note)


def row(measurement: Measurement, key: str) -> Row:
    """The row of a measurement in the section `key`."""
    place = point(measurement.at)
    label = words(metric(measurement.name, key))
    return Row(
        name=measurement.name,
        label=f"{label}, {place}" if place else label,
        place=place,
        along=any(not isinstance(value, str) for value in measurement.at.values()),
        shown=shown_measurement(measurement),
        exact="" if measurement.value is None else repr(float(measurement.value)),
        status="" if measurement.status is Status.MEASURED else measurement.status.value,
        arrow=arrow(measurement.better),
        direction=direction(measurement.better),
        level=f"{measurement.level * 100:g} %",
        population=population(measurement),
        count=measurement.count,
        note=measurement.note,
        meaning=measurement.meaning,
        bounds=measurement.bounds or "",
        timing=measurement.timing,
    )
