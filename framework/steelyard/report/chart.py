"""Charts as inline SVG: curves with their intervals, and scatter pictures with a front."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from steelyard.report import svg
from steelyard.report.axis import Axis, axis
from steelyard.report.numbers import MINUS, TIMES, number

WIDTH, HEIGHT = 360.0, 236.0
RIGHT, TOP, BOTTOM = 22.0, 12.0, 42.0
PER_LETTER = 6.4
"""Width of a tick's letter, so that the widest one finds room at the left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One value on a chart.

    Attributes:
        x: Across.
        y: Up.
        interval: Of y, or None.
        tip: Shown by the mouse.
        strong: False for a hollow mark.
        text: Written beside the mark.
    """

    x: float
    y: float
    interval: tuple[float, float] | None = None
    tip: str = ""
    strong: bool = True
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Points that belong together.

    Attributes:
        name: For the legend.
        points: In the order to join them.
        index: Chooses colour, mark and dash.
        joined: Draw a line through them.
        trusted: False marks a series whose control failed.
    """

    name: str
    points: tuple[Point, ...]
    index: int
    joined: bool = True
    trusted: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """What to draw.

    Attributes:
        title: In words.
        x_label: With unit.
        y_label: With unit.
        series: At least one with a point.
        levels: Horizontal lines for what has no place across: (name, y, index of its series).
        front: Corners of a Pareto front, from left to right.
        floor: A difference upwards that chance alone makes, drawn as a bar at the right; None where it is not known.
        may_log: Whether an axis may be logarithmic where its values span decades.
    """

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    levels: tuple[tuple[str, float, int], ...] = ()
    front: tuple[tuple[float, float], ...] = ()
    floor: float | None = None
    may_log: bool = True


@dataclass(frozen=True, slots=True)
class _Frame:
    x: Axis
    y: Axis

    @property
    def left(self) -> float:
        return 14 + PER_LETTER * max(len(_tick(tick)) for tick in self.y.ticks)

    def at(self, x: float, y: float) -> tuple[float, float]:
        across, up = self.x.place(x), self.y.place(y)
        return self.left + across * (WIDTH - self.left - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)


def draw(chart: Chart) -> Markup:
    """The chart as one `<svg>`."""
    points = [point for series in chart.series for point in series.points]
    heights = [point.y for point in points] + [level for _, level, _ in chart.levels]
    heights += [end for point in points for end in point.interval or ()]
    frame = _Frame(
        axis(chart.x_label, (point.x for point in points), may_log=chart.may_log),
        axis(chart.y_label, heights, may_log=chart.may_log and not any(point.interval for point in points)),
    )
    parts = [*_grid(frame), *(_level(frame, level, index) for _, level, index in chart.levels)]
    if len(chart.front) > 1:
        parts.append(svg.path([frame.at(x, y) for x, y in chart.front], "front"))
    if chart.floor is not None:
        parts += _floor(frame, chart.floor)
    for series in chart.series:
        parts += _series(frame, series)
    return svg.picture(*parts, width=WIDTH, height=HEIGHT, label=_in_words(chart), class_="chart")


def key(index: int) -> Markup:
    """The mark of a series, for a legend."""
    line = svg.line((0, 6), (22, 6), f"curve s{index % 6} d{index % 4}")
    mark = svg.mark(index, (11, 6), f"mark s{index % 6}")
    return svg.element("svg", line, mark, viewBox="0 0 22 12", width=22, height=12, class_="key", aria_hidden="true")


def _grid(frame: _Frame) -> list[Markup]:
    parts: list[Markup] = []
    bottom, left = HEIGHT - BOTTOM, frame.left
    for tick in frame.y.ticks:
        _, y = frame.at(frame.x.low, tick)
        parts += [svg.line((left, y), (WIDTH - RIGHT, y), "grid")]
        parts += [svg.text(_tick(tick), (left - 6, y + 3.5), "tick", "end")]
    for tick in frame.x.ticks:
        x, _ = frame.at(tick, frame.y.low)
        parts += [svg.line((x, bottom), (x, bottom + 4), "frame")]
        parts += [svg.text(_tick(tick), (x, bottom + 16), "tick", "middle")]
    parts.append(svg.line((left, bottom), (WIDTH - RIGHT, bottom), "frame"))
    parts.append(svg.text(frame.x.label, ((left + WIDTH - RIGHT) / 2, HEIGHT - 6), "label", "middle"))
    return parts


def _tick(value: float) -> str:
    """A tick's number, short, so that its neighbour has room: "20k" and "3M" instead of the zeros, 0.0002, 2·10⁻⁶."""
    if 1e-4 <= abs(value) < 1e-3:
        # Ticks are round.
        return f"{value:.6f}".rstrip("0").replace("-", MINUS)
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size and abs(value) < 1000 * size:
            return number(value / (1e3 if letter == "k" else size)) + letter
    mantissa, times, power = number(value).partition(f" {TIMES} ")
    return mantissa.rstrip("0").rstrip(".") + "·" + power if times else mantissa


def _level(frame: _Frame, level: float, index: int) -> Markup:
    return svg.line(frame.at(frame.x.low, level), frame.at(frame.x.high, level), f"level s{index % 6}")


def _floor(frame: _Frame, floor: float) -> list[Markup]:
    """A bar as long as the noise floor, in the middle of the right edge."""
    x, middle = WIDTH - RIGHT / 2, (TOP + HEIGHT - BOTTOM) / 2
    half = min(floor / (frame.y.high - frame.y.low), 1.0) * (HEIGHT - TOP - BOTTOM) / 2
    ends = ((x, middle - half), (x, middle + half))
    caps = [svg.line((x - 4, y), (x + 4, y), "frame") for _, y in ends]
    return [svg.line(*ends, "frame"), *caps]


def _series(frame: _Frame, series: Series) -> list[Markup]:
    colour = f"s{series.index % 6}"
    parts: list[Markup] = []
    banded = [(point.x, point.interval) for point in series.points if point.interval is not None]
    if series.joined and len(banded) > 1:
        above = [frame.at(x, ends[1]) for x, ends in banded]
        below = [frame.at(x, ends[0]) for x, ends in reversed(banded)]
        parts.append(svg.path([*above, *below], f"band {colour}", closed=True))
    elif not series.joined:
        parts += [svg.line(frame.at(x, ends[0]), frame.at(x, ends[1]), f"whisker {colour}") for x, ends in banded]
    if series.joined and len(series.points) > 1:
        line = [frame.at(point.x, point.y) for point in series.points]
        parts.append(svg.path(line, f"curve {colour} d{series.index % 4}"))
    for point in series.points:
        style = "mark" if point.strong and series.trusted else "hollow"
        size = 4.0 if series.joined and len(series.points) <= 12 else 5.5 if not series.joined else 2.2
        x, y = frame.at(point.x, point.y)
        parts.append(svg.mark(series.index, (x, y), f"{style} {colour}", size=size, tip=point.tip))
        if point.text:
            parts.append(svg.text(point.text, (x + 7, y - 5), "tick"))
    return parts


def _in_words(chart: Chart) -> str:
    parts = [f"{chart.title}. Across: {chart.x_label}. Up: {chart.y_label}."]
    parts += [f"{series.name}: {_run(series.points)}." for series in chart.series if series.points]
    parts += [f"{name}: level line at {number(level)}." for name, level, _ in chart.levels]
    parts += [f"Chance alone: {number(chart.floor)}."] if chart.floor is not None else []
    return " ".join(parts)


def _run(points: Sequence[Point]) -> str:
    chosen = points if len(points) <= 8 else [points[0], points[len(points) // 2], points[-1]]
    return ", ".join(f"{number(point.y)} at {number(point.x)}" for point in chosen)
