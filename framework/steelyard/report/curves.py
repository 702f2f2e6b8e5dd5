"""Finds the curves among measurements: those that share a name and have a numeric `at`."""

from collections.abc import Sequence
from dataclasses import dataclass

from steelyard.measurement import Measurement
from steelyard.report.chart import Chart, Point, Series
from steelyard.report.numbers import shown
from steelyard.report.words import coordinate, dataset, direction, point, words


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Measurements of one name over one numeric coordinate.

    Attributes:
        name: Full name of the measurement.
        across: The coordinate's key.
        branches: Label of the other coordinates ("" where there is none) -> measurements, by coordinate.
    """

    name: str
    across: str
    branches: dict[str, tuple[Measurement, ...]]

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        """All of its measurements."""
        return tuple(measurement for branch in self.branches.values() for measurement in branch)


def curve(measurements: Sequence[Measurement]) -> Curve | None:
    """The curve of measurements that share a name; None where fewer than two were measured along a number."""
    across = _across([item for item in measurements if item.value is not None])
    if across is None:
        return None
    branches: dict[str, list[Measurement]] = {}
    for measurement in measurements:
        place = measurement.at.get(across)
        if measurement.value is None or place is None or isinstance(place, str):
            continue
        label = point({key: value for key, value in measurement.at.items() if key != across})
        branches.setdefault(label, []).append(measurement)

    def place_of(item: Measurement) -> float:
        return float(item.at[across])

    kept = {label: tuple(sorted(branch, key=place_of)) for label, branch in branches.items()}
    return Curve(name=measurements[0].name, across=across, branches=kept) if kept else None


def chart(found: Curve, title: str) -> Chart:
    """The curve of one run as a chart."""
    first = found.measurements[0]
    series = tuple(
        branch_series(branch, across=found.across, name=label or title, index=index)
        for index, (label, branch) in enumerate(found.branches.items())
    )
    return Chart(
        title=title,
        x_label=coordinates(found.across, first),
        y_label=f"{title} [{first.unit}]" if first.unit else title,
        series=series,
    )


def coordinates(across: str, measurement: Measurement) -> str:
    """What stands at the axis of a curve: the coordinate with its unit."""
    return f"{words(across)} [{measurement.at_unit}]" if measurement.at_unit else words(across)


def branch_series(branch: Sequence[Measurement], *, across: str, name: str, index: int) -> Series:
    """The points of one branch."""
    points = tuple(
        Point(
            x=float(item.at[across]),
            y=item.value,
            interval=item.interval,
            tip=f"{name}: {shown(item.value, item.unit, item.interval).full} at {across} {coordinate(item.at[across])}",
        )
        for item in branch
        if item.value is not None
    )
    return Series(name=name, points=points, index=index, trusted=all(item.stands for item in branch))


def subtitle(measurement: Measurement) -> str:
    """Unit, direction and data of a curve."""
    split = dataset(measurement.split)
    return ", ".join(part for part in (measurement.unit, direction(measurement.better), split) if part)


def _across(measurements: Sequence[Measurement]) -> str | None:
    values: dict[str, set[float]] = {}
    for measurement in measurements:
        for key, value in measurement.at.items():
            if not isinstance(value, str):
                values.setdefault(key, set()).add(float(value))
    several = [key for key, found in values.items() if len(found) > 1]
    return max(several, key=lambda key: len(values[key]), default=None)
