"""The sections of a scorecard as the page shows them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from markupsafe import Markup

from steelyard.measurement import Status, by_name
from steelyard.report import assets, chart, curves, grid
from steelyard.report.numbers import duration
from steelyard.report.rows import Row, once, row, rows
from steelyard.report.words import Anchors, metric, words
from steelyard.scorecard import Section

HEADLINES = 4
"""Numbers on a challenge's card."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownCurve:
    """A curve with its numbers.

    Attributes:
        title: The metric in words.
        subtitle: Unit and direction.
        drawing: The chart.
        legend: (mark, name) of each branch; empty where there is only one, or each has a row.
        rows: The points.
        note: The assumption that the points share.
        meaning: What the numbers say, in a sentence.
        broad: Whether the drawing takes more room than a chart.
    """

    title: str
    subtitle: str
    drawing: Markup
    legend: list[tuple[Markup, str]]
    rows: list[Row]
    note: str
    meaning: str
    broad: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownSection:
    """One plugin's part of the page.

    Attributes:
        key: `<challenge>.<plugin>`.
        anchor: Its id on the page.
        title: The plugin's name.
        status: "" if measured, else the status.
        rows: Scalars.
        curves: Curves.
        pictures: Pictures.
        tables: Tables.
        sounds: Sounds.
        settings: The declaration's fields.
        error: The traceback of a failure.
        seconds: What it took, in words.
    """

    key: str
    anchor: str
    title: str
    status: str
    rows: list[Row]
    curves: list[ShownCurve]
    pictures: list[assets.ShownPicture]
    tables: list[assets.ShownTable]
    sounds: list[assets.ShownSound]
    settings: list[tuple[str, str]]
    error: str
    seconds: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """All sections of one challenge.

    Attributes:
        name: Its key.
        title: In words.
        anchor: Its id on the page.
        headlines: (plugin, row): the numbers of its card.
        sections: Its plugins.
    """

    name: str
    title: str
    anchor: str
    headlines: list[tuple[str, Row]]
    sections: list[ShownSection]


def challenges(sections: Iterable[Section], folder: Path, anchors: Anchors) -> list[Challenge]:
    """Groups the sections by challenge, in the order of their first appearance."""
    groups: dict[str, list[Section]] = {}
    for section in sections:
        groups.setdefault(section.challenge, []).append(section)
    return [
        Challenge(
            name=name,
            title=words(name),
            anchor=anchors(name),
            headlines=_headlines(members),
            sections=[_section(section, folder, anchors) for section in members],
        )
        for name, members in groups.items()
    ]


def flat(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """A nested mapping as (dotted key, text) pairs."""
    if isinstance(value, Mapping) and value:
        pairs: list[tuple[str, str]] = []
        for key, part in cast("Mapping[Any, Any]", value).items():
            pairs += flat(part, f"{prefix}.{key}" if prefix else str(key))
        return pairs
    return [(prefix, plain(value))]


def plain(value: Any) -> str:
    """A value as a reader of the config knows it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ", ".join(plain(item) for item in cast("Sequence[Any]", value)) or "none"
    return str(value) if value != {} else "none"


def _headlines(sections: Iterable[Section]) -> list[tuple[str, Row]]:
    """The first scalars of each plugin that have a direction, turn by turn, so that every plugin has a say."""
    queues = [
        [(section, item) for item in section.measurements if not item.at and item.better is not None]
        for section in sections
    ]
    turns = [queue[turn] for turn in range(HEADLINES) for queue in queues if turn < len(queue)]
    chosen = turns[:HEADLINES]
    ordered = [pair for queue in queues for pair in queue if pair in chosen]
    return [(section.key.partition(".")[2], row(item, section.key)) for section, item in ordered]


def _section(section: Section, folder: Path, anchors: Anchors) -> ShownSection:
    scalars: list[Row] = []
    drawn: list[ShownCurve] = []
    for group in by_name(section.measurements).values():
        found = curves.curve(group)
        if found is None:
            scalars += rows(group, section.key)
            continue
        scalars += rows([item for item in group if item not in found.measurements], section.key)
        drawn.append(_curve(found, section.key))
    pictures = [artefact for artefact in section.artefacts if artefact.kind == "picture"]
    tables = [artefact for artefact in section.artefacts if artefact.kind == "table"]
    sounds = [artefact for artefact in section.artefacts if artefact.kind == "sound"]
    return ShownSection(
        key=section.key,
        anchor=anchors(section.key),
        title=section.key.partition(".")[2] or section.key,
        status="" if section.status is Status.MEASURED else section.status.value,
        rows=once(scalars),
        curves=drawn,
        pictures=[assets.picture(folder, artefact) for artefact in pictures],
        tables=[assets.table(folder, artefact) for artefact in tables],
        sounds=[assets.sound(folder, artefact) for artefact in sounds],
        settings=flat(section.settings) if section.settings else [],
        error=section.error or "",
        seconds=_seconds(section),
    )


def _curve(found: curves.Curve, key: str) -> ShownCurve:
    title = words(metric(found.name, key))
    picture = curves.chart(found, title)
    several, many = len(picture.series) > 1, len(picture.series) > grid.MANY
    notes = {item.note for item in found.measurements}
    shared = notes.pop() if len(notes) == 1 else ""
    return ShownCurve(
        title=title,
        subtitle=curves.subtitle(found.measurements[0]),
        drawing=grid.draw(picture) if many else chart.draw(picture),
        legend=[(chart.key(series.index), series.name) for series in picture.series] if several and not many else [],
        rows=[row(item, key) for item in found.measurements],
        note=shared,
        meaning=found.measurements[0].meaning,
        broad=many and grid.wide(picture) > grid.WIDTH,
    )


def _seconds(section: Section) -> str:
    parts = [(section.hook_seconds, "in training hooks"), (section.measure_seconds, "measuring")]
    return ", ".join(f"{duration(seconds)} {where}" for seconds, where in parts if seconds > 0)
