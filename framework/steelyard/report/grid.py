"""Many branches of a curve as a grid: a row for each, a column for each place, darker where the value is higher."""

from collections.abc import Sequence

from markupsafe import Markup

from steelyard.report import svg
from steelyard.report.chart import Chart, Point, Series
from steelyard.report.numbers import number

MANY = 6
"""Branches that a chart can tell apart by their marks."""
WIDTH, ROW, HEAD, GAP = 360.0, 17.0, 34.0, 1.0
PER_LETTER = 7.2
FAINT, FULL = 0.06, 0.6
"""Of a colour that leaves the number on it to be read."""


def draw(chart: Chart) -> Markup:
    """The chart's series as one `<svg>`, `wide(chart)` across; what a series has no point for stays empty."""
    places = _places(chart)
    values = [point.y for series in chart.series for point in series.points]
    low, high = min(values), max(values)
    names, whole = _names(chart), wide(chart)
    left = _left(names)
    width = (whole - left) / len(places)
    parts = [svg.text(chart.x_label, (left + (whole - left) / 2, 11), "label", "middle")]
    parts += [
        svg.text(_at(place), (left + (at + 0.5) * width, HEAD - 8), "tick", "middle") for at, place in enumerate(places)
    ]
    for row, (name, series) in enumerate(zip(names, chart.series, strict=True)):
        top = HEAD + row * ROW
        parts.append(svg.text(name, (left - 8, top + ROW - 5), "tick", "end"))
        for point in series.points:
            start = left + places.index(point.x) * width
            share = (point.y - low) / (high - low) if high > low else 0.5
            parts += _cell(point, series, corner=(start, top), width=width, depth=FAINT + share * (FULL - FAINT))
    height = HEAD + ROW * len(chart.series) + 4
    return svg.picture(*parts, width=whole, height=height, label=_in_words(chart, names), class_="chart")


def wide(chart: Chart) -> float:
    """The width that all numbers have room in, at least that of a chart."""
    places = _places(chart)
    longest = max(len(_short(point.y)) for series in chart.series for point in series.points)
    cell = PER_LETTER * max(longest, *(len(_at(place)) for place in places)) + 8
    return max(WIDTH, _left(_names(chart)) + cell * len(places))


def _places(chart: Chart) -> list[float]:
    return sorted({point.x for series in chart.series for point in series.points})


def _left(names: Sequence[str]) -> float:
    return PER_LETTER * max(map(len, names)) + 8


def _at(place: float) -> str:
    """Two digits tell a share from its neighbours."""
    return f"{place:.2g}" if 1e-3 <= abs(place) < 1 else number(place)


def _cell(point: Point, series: Series, *, corner: tuple[float, float], width: float, depth: float) -> Sequence[Markup]:
    x, y = corner
    box = svg.element(
        "rect",
        svg.element("title", point.tip),
        x=x,
        y=y,
        width=width - GAP,
        height=ROW - GAP,
        class_="cell s0" if series.trusted else "hollow s0",
        fill_opacity=depth if series.trusted else None,
    )
    return box, svg.text(_short(point.y), (x + width / 2, y + ROW - 5), "name", "middle")


def _names(chart: Chart) -> list[str]:
    """Without the first word where all begin with the same, so that "kind fog" goes by "fog"."""
    names = [series.name for series in chart.series]
    shared = {name.partition(" ")[0] for name in names}
    whole = len(shared) == 1 and all(" " in name for name in names)
    return [(name.partition(" ")[2] if whole else name).replace("_", " ") for name in names]


def _short(value: float) -> str:
    return number(value, 2) if abs(value) < 10 else number(value)


def _in_words(chart: Chart, names: Sequence[str]) -> str:
    rows = [
        f"{name}: {', '.join(f'{_short(point.y)} at {number(point.x)}' for point in series.points)}."
        for name, series in zip(names, chart.series, strict=True)
    ]
    return " ".join([f"{chart.title}. Across: {chart.x_label}.", *rows])
