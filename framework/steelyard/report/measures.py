"""The measurements of a sweep, group beside group."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from steelyard.report import chart
from steelyard.report.curves import curve
from steelyard.report.numbers import Style, style
from steelyard.report.standing import Standing, standing
from steelyard.report.strip import Scale, scale, strip
from steelyard.report.words import arrow, counted, direction, metric, point, words
from steelyard.trials.folding import Folded, Group, Noise, fold, noise


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What one group says of a measurement.

    Attributes:
        label: The group.
        key: Its mark.
        value: With unit; "" where nothing was measured.
        range: Interval, or spread over seeds.
        missing: Why there is no value, or why some seeds have none.
        strip: The value on the common scale.
    """

    label: str
    key: Markup
    value: str
    range: str
    missing: str
    strip: Markup


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One measurement over all groups.

    Attributes:
        name: Full name.
        plugin: The plugin's name, or those of several with commas; "" for the task.
        label: In words.
        arrow: The sign of what is better.
        direction: What is better, in words.
        standing: Which group is best.
        floor: The noise floor of seeds, in words.
        note: What the number rests on.
        meaning: What the number says, in a sentence.
        cells: One per group.
        folded: The numbers behind the cells.
        varies: False if all groups have the same value.
        unit: Of the value.
        takes: True for the time, memory or energy of a whole run, and not of a part of it.
    """

    name: str
    plugin: str
    label: str
    arrow: str
    direction: str
    standing: Standing
    floor: str
    note: str
    meaning: str
    cells: list[Cell]
    folded: list[Folded | None]
    varies: bool
    unit: str
    takes: bool


def section_keys(groups: Sequence[Group]) -> list[str]:
    """Keys of all sections: challenges as the fullest scorecard orders them, plugins by name."""
    cards = [trial.scorecard for group in groups for trial in group.trials if trial.scorecard]
    # The fullest one first: it knows where the others' gaps are.
    cards.sort(key=lambda card: -len(card.sections))
    found = dict.fromkeys(section.key for card in cards for section in card.sections)
    order = list(dict.fromkeys(key.partition(".")[0] for key in found))
    return sorted(found, key=lambda key: (order.index(key.partition(".")[0]), key))


def measures(groups: Sequence[Group], key: str) -> list[Measure]:
    """The scalars of one section, in the order of their first appearance."""
    return [_measure(groups, key, name, dict(at)) for name, at in _scalars(groups, key)]


def joined(groups: Sequence[Group], sections: Mapping[str, Sequence[Measure]]) -> dict[str, list[Measure]]:
    """The sections with each quantity once: what one group has of one plugin and another of the next is one row.

    A group that has it of both keeps both apart, since they may differ.

    Args:
        groups: In the order of the cells.
        sections: Key -> its measures.
    """
    found: dict[str, list[Measure]] = {key: [] for key in sections}
    for key, items in sections.items():
        challenge = key.partition(".")[0]
        for item in items:
            known = (other for name, others in found.items() if name.partition(".")[0] == challenge for other in others)
            same = next((other for other in known if _same(other, item)), None)
            if same is None:
                found[key].append(item)
            else:
                home = found[f"{challenge}.{same.plugin.partition(', ')[0]}"]
                home[home.index(same)] = _join(groups, same, item)
    return found


def _same(one: Measure, other: Measure) -> bool:
    """Whether two plugins of a challenge measured one quantity, and no group has it of both."""

    def kind(item: Measure) -> tuple[str, ...]:
        return item.label, item.unit, item.direction, item.meaning

    both = any(first and second for first, second in zip(one.folded, other.folded, strict=True))
    return bool(one.meaning) and one.plugin != other.plugin and kind(one) == kind(other) and not both


def _join(groups: Sequence[Group], one: Measure, other: Measure) -> Measure:
    folded = [first or second for first, second in zip(one.folded, other.folded, strict=True)]
    made = _compared(groups, folded, name=one.name, plugin=f"{one.plugin}, {other.plugin}", label=one.label)
    return replace(made, note=one.note or other.note)


def _scalars(groups: Sequence[Group], key: str) -> Iterator[tuple[str, tuple[tuple[str, str | float], ...]]]:
    seen: set[tuple[str, tuple[tuple[str, str | float], ...]]] = set()
    for group in groups:
        for trial in group.trials:
            for name, items in trial.measurements.items():
                if not name.startswith(f"{key}."):
                    continue
                found = curve(items)
                drawn = found.measurements if found else ()
                for item in items:
                    place = (name, tuple(item.at.items()))
                    if item not in drawn and place not in seen:
                        seen.add(place)
                        yield place


def _measure(groups: Sequence[Group], key: str, name: str, at: Mapping[str, str | float]) -> Measure:
    label, place = words(metric(name, key)), point(at)
    return _compared(
        groups,
        [fold(group, name, at) for group in groups],
        name=name,
        plugin=key.partition(".")[2],
        label=f"{label}, {place}" if place else label,
    )


def _compared(groups: Sequence[Group], folded: list[Folded | None], *, name: str, plugin: str, label: str) -> Measure:
    known = [item for item in folded if item is not None]
    first = next((item for item in known if item.values), known[0]).first
    spread = noise(folded)
    means = [item.mean for item in known if item.mean is not None]
    on = scale([*means, *(end for item in known for end in item.ends or ())]) if means else None
    look = _style(known)
    return Measure(
        name=name,
        plugin=plugin,
        label=label,
        arrow=arrow(first.better),
        direction=direction(first.better),
        standing=standing(groups, folded, spread, look),
        floor=_floor(spread, look),
        note=first.note,
        meaning=first.meaning,
        cells=[_cell(group, item, on, look, terse=not means) for group, item in zip(groups, folded, strict=True)],
        folded=folded,
        varies=len(set(means)) > 1 or 0 < len(means) < len(groups),
        unit=first.unit,
        takes=first.timing and not first.at,
    )


def _cell(group: Group, item: Folded | None, on: Scale | None, look: Style, *, terse: bool) -> Cell:
    """What a group says; `terse` where nobody measured, since the note then says why."""
    value, spread, drawn = "", "", Markup("")
    if item is not None and item.mean is not None and on is not None:
        value, spread = _texts(item, item.mean, look)
        drawn = strip(item.mean, item.ends, on, group.index)
    failed = all(trial.scorecard is None for trial in group.trials)
    missing = item.missing if item else group.trials[0].state if failed else "not in this trial"
    return Cell(
        label=group.label,
        key=chart.key(group.index),
        value=value,
        range=spread,
        missing=missing.partition(":")[0] if terse else missing,
        strip=drawn,
    )


def _style(known: Sequence[Folded]) -> Style:
    """One style for all groups, so that their digits can be compared."""
    means = [item.mean for item in known if item.mean is not None]
    halves = [(item.interval[1] - item.interval[0]) / 2 for item in known if item.interval is not None]
    return style(means, known[0].first.unit, [*halves, *(item.deviation or 0.0 for item in known)])


def _floor(spread: Noise | None, look: Style) -> str:
    if spread is None:
        return ""
    return f"seeds alone move it by {look.show(spread.deviation).full} (standard deviation)"


def _texts(item: Folded, mean: float, look: Style) -> tuple[str, str]:
    """Value and what stands behind it."""
    text = look.show(mean, item.interval)
    if item.deviation is None:
        return text.full, text.range
    low, high = look.text(min(item.values)), look.text(max(item.values))
    return text.full, f"sd {look.text(item.deviation)}, {low} to {high}, {counted(len(item.values), 'seed')}"
