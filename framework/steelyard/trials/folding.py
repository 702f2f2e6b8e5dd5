"""Folds the seeds of a sweep: trials that differ in nothing but their seed are one group with a mean and a spread."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

from steelyard.measurement import Better, Measurement
from steelyard.trials.paired import differ, pairs_of, student
from steelyard.trials.reading import Trial, setting

PLAIN = "plain"
FEW = 6
"""Groups that colour and mark tell apart; with more, every label starts with a number."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Trials that differ in their seed alone.

    Attributes:
        index: Its place, from 0; chooses colour and mark.
        label: What sets it apart, in a few words.
        settings: Differing key -> value.
        trials: At least one.
    """

    index: int
    label: str
    settings: Mapping[str, str]
    trials: tuple[Trial, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """One measurement of one group over its seeds.

    Attributes:
        first: The first trial's measurement: unit, direction, note.
        values: Of the trials that measured it.
        interval: Of the only trial; None where seeds were folded.
        place: The run folder of the only trial; None where seeds were folded.
        missing: Why trials have no value, in words; "" if all have.
    """

    first: Measurement
    values: tuple[float, ...]
    interval: tuple[float, float] | None = None
    place: Path | None = None
    missing: str = ""

    @property
    def mean(self) -> float | None:
        """The mean over seeds, or None where nobody measured."""
        return mean(self.values) if self.values else None

    @property
    def deviation(self) -> float | None:
        """The standard deviation over seeds; None with fewer than two."""
        return stdev(self.values) if len(self.values) > 1 else None

    @property
    def ends(self) -> tuple[float, float] | None:
        """What to draw round the mean: lowest and highest of the seeds, or the only trial's interval."""
        return (min(self.values), max(self.values)) if len(self.values) > 1 else self.interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """What seeds alone do to a measurement, pooled over the groups that have several.

    Attributes:
        deviation: Pooled standard deviation.
        freedom: Degrees of freedom; at least 1.
    """

    deviation: float
    freedom: int

    def floor(self, first: int, second: int) -> float:
        """The difference of two means over `first` and `second` seeds that chance passes in 5 % of cases."""
        return student(self.freedom) * self.deviation * math.sqrt(1 / first + 1 / second)


def groups(trials: Sequence[Trial], keys: Sequence[str]) -> tuple[Group, ...]:
    """Groups trials by what they chose for the differing keys, in the order of their first appearance.

    A trial that ended before anybody wrote down its choices belongs to no group.
    """
    members: dict[tuple[str, ...], list[Trial]] = {}
    for trial in (trial for trial in trials if trial.scorecard or trial.choices):
        members.setdefault(tuple(setting(trial, key) for key in keys), []).append(trial)
    shared = {key: _shared(chosen[place] for chosen in members) for place, key in enumerate(keys)}
    labels = [_label(keys, chosen, shared) for chosen in members]
    if len(labels) > FEW:
        labels = [f"#{place} {label}" for place, label in enumerate(labels, start=1)]
    return tuple(
        Group(
            index=index,
            label=label if labels.count(label) == 1 else f"{label} ({found[0].name})",
            settings=dict(zip(keys, chosen, strict=True)),
            trials=tuple(found),
        )
        for index, (label, (chosen, found)) in enumerate(zip(labels, members.items(), strict=True))
    )


def fold(group: Group, name: str, at: Mapping[str, str | float] | None = None) -> Folded | None:
    """One measurement over the group's seeds; None where no trial speaks of it."""
    wanted = dict(at or {})
    found = [
        next((item for item in trial.measurements.get(name, ()) if dict(item.at) == wanted), None)
        for trial in group.trials
    ]
    spoken = [item for item in found if item is not None]
    if not spoken:
        return None
    good = [item for item in spoken if item.stands]
    places = [trial.folder for trial, item in zip(group.trials, found, strict=True) if item is not None and item.stands]
    reasons = [_why(item) for item in found if item is None or not item.stands]
    return Folded(
        first=(good or spoken)[0],
        values=tuple(item.value for item in good if item.value is not None),
        interval=good[0].interval if len(good) == 1 else None,
        place=places[0] if len(places) == 1 else None,
        missing=_counted(reasons, len(group.trials)),
    )


def noise(folded: Iterable[Folded | None]) -> Noise | None:
    """The pooled spread over seeds; None where no group has two."""
    several = [item for item in folded if item is not None and len(item.values) > 1]
    freedom = sum(len(item.values) - 1 for item in several)
    if not freedom:
        return None
    squares = sum((len(item.values) - 1) * (item.deviation or 0.0) ** 2 for item in several)
    return Noise(deviation=math.sqrt(squares / freedom), freedom=freedom)


def told_apart(first: Folded, second: Folded, spread: Noise | None) -> bool | None:
    """True if two groups differ by more than chance does; None where nothing says what chance does."""
    if first.mean is None or second.mean is None:
        return None
    gap = abs(first.mean - second.mean)
    if spread is not None:
        return gap > spread.floor(len(first.values), len(second.values))
    pairs = paired(first, second)
    if pairs:
        return differ(pairs)
    if first.interval is not None and second.interval is not None:
        return first.interval[1] < second.interval[0] or second.interval[1] < first.interval[0]
    return None if gap else False


def paired(first: Folded, second: Folded) -> list[tuple[float, float]] | None:
    """The values of two single trials for each example; None where they did not look at the same ones."""
    if first.place is None or second.place is None or first.first.at or second.first.at:
        return None
    return pairs_of(first.place, second.place, first.first.name)


def best(values: Sequence[float], better: Better) -> float:
    """The best of some values."""
    return min(values) if better is Better.LOWER else max(values)


def _shared(values: Iterable[str]) -> frozenset[str]:
    """Options that every group has chosen, where groups choose lists."""
    lists = [_options(value) for value in values]
    if all(len(options) == 1 for options in lists):
        return frozenset()
    return frozenset(option for option in lists[0] if all(option in options for options in lists))


def _options(value: str) -> list[str]:
    return [option for option in value.split(",") if option not in ("", "none")]


def _label(keys: Sequence[str], chosen: Sequence[str], shared: Mapping[str, frozenset[str]]) -> str:
    parts: list[str] = []
    for key, value in zip(keys, chosen, strict=True):
        options = [option for option in _options(value) if option not in shared[key]]
        if options:
            parts.append(f"{key.rpartition('.')[2]}={','.join(options)}")
    return ", ".join(parts) or PLAIN


def _why(item: Measurement | None) -> str:
    if item is None:
        return "not there"
    return f"{item.status}: {item.note}"


def _counted(reasons: Sequence[str], total: int) -> str:
    if not reasons:
        return ""
    unique = list(dict.fromkeys(reasons))
    said = "; ".join(unique)
    return said if total == 1 else f"{len(reasons)} of {total} {said}"
