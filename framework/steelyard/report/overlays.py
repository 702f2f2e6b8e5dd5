"""Curves of several groups in one chart, seeds folded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from steelyard.measurement import Measurement
from steelyard.report import chart
from steelyard.report.curves import Curve, coordinates, curve, subtitle
from steelyard.report.numbers import number, shown
from steelyard.report.words import metric, words
from steelyard.trials.folding import Group, fold


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlay:
    """One chart.

    Attributes:
        title: The metric in words.
        subtitle: Unit, direction and data.
        drawing: The chart.
        note: The assumption.
        meaning: What the numbers say, in a sentence.
    """

    title: str
    subtitle: str
    drawing: Markup
    note: str
    meaning: str


def overlays(groups: Sequence[Group], key: str) -> list[Overlay]:
    """One chart per curve and branch of a section."""
    found: dict[tuple[str, str], list[tuple[Group, Curve]]] = {}
    for group in groups:
        for shape in _curves(group, key):
            for branch in shape.branches:
                found.setdefault((shape.name, branch), []).append((group, shape))
    return [_overlay(key, branch, shapes) for (_, branch), shapes in found.items()]


def _curves(group: Group, key: str) -> Iterator[Curve]:
    """The curves of the group's first trial that has them: seeds share their points."""
    seen: set[str] = set()
    for trial in group.trials:
        for name, items in trial.measurements.items():
            if name.startswith(f"{key}.") and name not in seen and (found := curve(items)):
                seen.add(name)
                yield found


def _overlay(key: str, branch: str, shapes: Sequence[tuple[Group, Curve]]) -> Overlay:
    first = shapes[0][1].branches[branch][0]
    across = shapes[0][1].across
    name = words(metric(first.name, key))
    title = f"{name}, {branch}" if branch else name
    series = tuple(
        chart.Series(
            name=group.label,
            points=tuple(_points(group, shape.branches[branch], across)),
            index=group.index,
        )
        for group, shape in shapes
        if shape.across == across
    )
    picture = chart.Chart(title=title, x_label=coordinates(across, first), y_label=title, series=series)
    return Overlay(
        title=title,
        subtitle=subtitle(first),
        drawing=chart.draw(picture),
        note=first.note,
        meaning=first.meaning,
    )


def _points(group: Group, branch: Sequence[Measurement], across: str) -> Iterator[chart.Point]:
    for item in branch:
        folded = fold(group, item.name, item.at)
        if folded is None or folded.mean is None:
            continue
        x = float(item.at[across])
        tip = f"{group.label}: {shown(folded.mean, item.unit).full} at {across} {number(x)}"
        yield chart.Point(x=x, y=folded.mean, interval=folded.ends, tip=tip)
