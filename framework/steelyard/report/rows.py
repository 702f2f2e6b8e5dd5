"""Measurements as rows of a table."""

from collections.abc import Sequence
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

    The note of numbers that were measured stands with the first of them that has it; what was not measured, or is not
    to be trusted, always says why.
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


def row(measurement: Measurement, key: str) -> Row:
    """The row of a measurement in the section `key`."""
    place = point(measurement.at)
    label = words(metric(measurement.name, key))
    return Row(
        name=measurement.name,
        label=f"{label}, {place}" if place else label,
        place=place,
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
