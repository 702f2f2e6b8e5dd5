"""Trade-off pictures: two measurements of a sweep against each other, with the Pareto front."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from steelyard.measurement import Better
from steelyard.report import chart
from steelyard.report.measures import Measure
from steelyard.report.numbers import shown
from steelyard.report.words import inside, listing
from steelyard.trials import pareto
from steelyard.trials.folding import FEW, Folded, Group, noise

MOST = 8
"""Pictures on a page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeOff:
    """One picture.

    Attributes:
        title: What stands against what.
        subtitle: The directions.
        drawing: The scatter picture.
        words: What it shows, in words.
    """

    title: str
    subtitle: str
    drawing: Markup
    words: str


def trade_offs(groups: Sequence[Group], sections: Sequence[Sequence[Measure]]) -> list[TradeOff]:
    """The first measurement of the first section against the first varying one of every other section."""
    chosen = [next((item for item in section if item.direction and item.varies), None) for section in sections]
    found = [item for item in chosen if item is not None]
    if not found:
        return []
    up, *others = found
    return [picture for across in others[:MOST] if (picture := trade_off(groups, across, up))]


def trade_off(groups: Sequence[Group], across: Measure, up: Measure) -> TradeOff | None:
    """The picture of two measurements; None where no group has both."""
    both = list(_both(groups, across, up))
    if not both:
        return None
    front = _front(both, across, up)
    corners = [(both[place].x, both[place].y) for place in front]
    lacking = [
        (group, item)
        for group, item, other in zip(groups, up.folded, across.folded, strict=True)
        if item is not None and item.mean is not None and (other is None or other.mean is None)
    ]
    floor = _floor(both, up)
    drawing = chart.Chart(
        title=f"{up.label} against {inside(across.label)}",
        x_label=_label(across),
        y_label=_label(up),
        series=tuple(_series(pair, strong=place in front, many=len(groups) > FEW) for place, pair in enumerate(both)),
        levels=tuple((group.label, item.mean, group.index) for group, item in lacking if item.mean is not None),
        front=tuple(_stairs(sorted(corners), up)),
        floor=floor,
    )
    return TradeOff(
        title=drawing.title,
        subtitle=f"{inside(across.label)}: {across.direction}; {inside(up.label)}: {up.direction}",
        drawing=chart.draw(drawing),
        words=" ".join(
            [
                _words(both, front, [group.label for group, _ in lacking], across),
                *_floor_words(floor, both[0].up),
            ]
        ).strip(),
    )


@dataclass(frozen=True, slots=True)
class _Pair:
    group: Group
    x: float
    y: float
    across: Folded
    up: Folded


def _both(groups: Sequence[Group], across: Measure, up: Measure) -> Iterator[_Pair]:
    for group, first, second in zip(groups, across.folded, up.folded, strict=True):
        if first and second and first.mean is not None and second.mean is not None:
            yield _Pair(group, first.mean, second.mean, first, second)


def _floor(both: Sequence[_Pair], up: Measure) -> float | None:
    """The difference upwards that seeds alone make in 5 % of pairs, between the groups with the fewest seeds.

    The spread is that of all groups, also of those outside the picture, so that one measurement has one floor.
    """
    spread = noise(up.folded)
    fewest = min(len(pair.up.values) for pair in both)
    return spread.floor(fewest, fewest) if spread and spread.deviation else None


def _floor_words(floor: float | None, item: Folded) -> list[str]:
    if floor is None:
        return []
    size = shown(floor, item.first.unit).full
    return [f"Bar at the right: the noise floor of seeds, {size} upwards; smaller differences are not ranked."]


def _front(both: Sequence[_Pair], across: Measure, up: Measure) -> tuple[int, ...]:
    x, y = _better(across), _better(up)
    return pareto.front([(pair.x, pair.y) for pair in both], x=x, y=y) if x and y else ()


def _better(measure: Measure) -> Better | None:
    return next((item.first.better for item in measure.folded if item is not None), None)


def _stairs(corners: Sequence[tuple[float, float]], up: Measure) -> Iterator[tuple[float, float]]:
    """The border of what the front beats: steps, since nothing lies between two trials."""
    outer = max if _better(up) is Better.LOWER else min
    for place, (x, y) in enumerate(corners):
        if place:
            before = corners[place - 1]
            corner = outer(before[1], y)
            yield (x, corner) if corner == before[1] else (before[0], corner)
        yield x, y


def _series(pair: _Pair, *, strong: bool, many: bool) -> chart.Series:
    first, second = pair.across.first, pair.up.first
    tip = f"{pair.group.label}: {shown(pair.y, second.unit).full} at {shown(pair.x, first.unit).full}"
    text = pair.group.label.partition(" ")[0] if many else ""
    at = chart.Point(x=pair.x, y=pair.y, interval=pair.up.ends, tip=tip, strong=strong, text=text)
    return chart.Series(name=pair.group.label, points=(at,), index=pair.group.index, joined=False)


def _label(measure: Measure) -> str:
    unit = next((item.first.unit for item in measure.folded if item is not None), "")
    name = f"{measure.plugin}: {inside(measure.label)}" if measure.plugin else measure.label
    return f"{name} [{unit}]" if unit else name


def _words(both: Sequence[_Pair], front: Sequence[int], lacking: Sequence[str], across: Measure) -> str:
    said: list[str] = []
    if len(front) == len(both) > 1:
        said.append("Nothing here is best at both: every group is on the front.")
    elif front and len(both) > 1:
        names = listing(both[place].group.label for place in sorted(front))
        said.append(f"On the front (filled marks): {names}.")
    if lacking:
        said.append(f"Dashed level: {listing(lacking)}, without {inside(across.label)}.")
    return " ".join(said)
