"""Any two scores of a sweep against each other: what the page's small script draws, and which trials are best."""

import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from steelyard.measurement import Better
from steelyard.report.numbers import shown
from steelyard.report.page import REPORT
from steelyard.report.words import counted, direction, metric, words
from steelyard.trials.folding import Folded, Group, best, fold, noise, told_apart
from steelyard.trials.importance import FEWEST, Importance, importance
from steelyard.trials.reading import SEED

MOST_SCORES = 40
MOST_KEYS = 8
"""Axes of swept keys in the parallel coordinates."""
MOST_BEST = 4
_DIGITS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One measurement over all groups.

    Attributes:
        name: Full name.
        label: In words, with plugin and unit.
        folded: One per group.
    """

    name: str
    label: str
    folded: tuple[Folded | None, ...]

    @property
    def better(self) -> Better | None:
        """The direction of improvement."""
        return next((item.first.better for item in self.folded if item is not None), None)

    @property
    def means(self) -> list[float | None]:
        """Over seeds; None where nobody measured."""
        return [None if item is None else item.mean for item in self.folded]


@dataclass(frozen=True, slots=True, kw_only=True)
class BestLine:
    """The group that is best at one score.

    Attributes:
        score: In words, with its direction.
        value: With unit.
        label: Of the group.
        link: To its first trial's report, or "".
        line: To paste into a shell.
        note: How sure that is.
    """

    score: str
    value: str
    label: str
    link: str
    line: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Influence:
    """What moves one score.

    Attributes:
        score: In words.
        explained: Share of the variance, in words.
        shares: Key and share, 0 to 1, the greatest first.
        count: Groups behind it.
    """

    score: str
    explained: str
    shares: list[tuple[str, float]]
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Explorer:
    """The part of the page that looks through many trials.

    Attributes:
        data: JSON for the script; no `<` in it.
        script: The script.
        best: Of the first scores.
        influences: Of the first scores; those of which the trials say too little are not there.
        unsaid: Why there is no importance, or "".
    """

    data: Markup
    script: Markup
    best: list[BestLine]
    influences: list[Influence]
    unsaid: str


def explorer(groups: Sequence[Group], keys: Sequence[str], names: Sequence[str], folder: Path) -> Explorer | None:
    """What the page shows of all groups; None where no two scores were measured in two of them.

    Args:
        groups: Of the sweep.
        keys: The swept keys.
        names: Full names of scores, the most telling first.
        folder: Where the page lies.
    """
    found = list(_scores(groups, names))
    if len(found) < 2:
        return None
    judged = [score for score in found if score.better is not None]
    texts = [[group.settings[key] for key in keys] for group in groups]
    moved = [(score, importance(texts, keys, score.means)) for score in judged[:MOST_BEST]]
    influences = [_influence(score, one) for score, one in moved if one is not None]
    order = _order(keys, [one for _, one in moved if one is not None])
    return Explorer(
        data=Markup(_json(_data(groups, order[:MOST_KEYS], found, folder)).replace("<", "\\u003c")),  # noqa: S704
        script=_script(),
        best=[line for score in judged[:MOST_BEST] for line in _best(groups, score, folder)],
        influences=influences,
        unsaid="" if influences or len(groups) < FEWEST else "No score follows from the swept keys well enough to say.",
    )


def command(group: Group) -> list[str]:
    """The words that make a group's trials, without the seed; empty where nobody wrote them down."""
    card = next((trial.scorecard for trial in group.trials if trial.scorecard), None)
    words = card.overrides if card else ()
    return [word for word in words if word.partition("=")[0] != SEED and not word.startswith("sweep.")]


def _scores(groups: Sequence[Group], names: Sequence[str]) -> Iterator[Score]:
    seen: dict[str, None] = dict.fromkeys(names)
    for group in groups:
        for trial in group.trials:
            seen.update(dict.fromkeys(name for name, items in trial.measurements.items() if not items[0].at))
    taken = 0
    for name in seen:
        folded = tuple(fold(group, name) for group in groups)
        means = [item.mean for item in folded if item is not None and item.mean is not None]
        if taken < MOST_SCORES and len(set(means)) > 1:
            taken += 1
            yield Score(name=name, label=_label(name, folded), folded=folded)


def _label(name: str, folded: Sequence[Folded | None]) -> str:
    section = name.rpartition(".")[0]
    plugin = section.partition(".")[2]
    unit = next((item.first.unit for item in folded if item is not None), "")
    label = words(metric(name, section))
    return f"{label}{f' ({plugin})' if plugin else ''}{f' [{unit}]' if unit else ''}"


def _data(groups: Sequence[Group], keys: Sequence[str], scores: Sequence[Score], folder: Path) -> dict[str, Any]:
    lines = [command(group) for group in groups]
    shared = [word for word in lines[0] if all(word in line for line in lines)] if lines else []
    signs = {Better.HIGHER: 1, Better.LOWER: -1, None: 0}
    return {
        "common": shlex.join(shared),
        "keys": [{"label": key, **_axis([group.settings[key] for group in groups])} for key in keys],
        "scores": [
            {"label": score.label, "better": signs[score.better], "values": [_short(value) for value in score.means]}
            for score in scores
        ],
        "groups": [
            [
                group.label,
                len(group.trials),
                link(group, folder),
                shlex.join(word for word in line if word not in shared) if line else None,
            ]
            for group, line in zip(groups, lines, strict=True)
        ],
    }


def _axis(values: Sequence[str]) -> dict[str, Any]:
    """Numbers as they are; words as places in their sorted list."""
    try:
        return {"values": [None if value == "" else _short(float(value)) for value in values]}
    except ValueError:
        options = sorted(set(values))
        return {"options": options, "values": [options.index(value) for value in values]}


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{_DIGITS}g}")


def _json(data: Mapping[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def link(group: Group, folder: Path) -> str:
    """A relative link to the first report of a group, so that the folder can be moved; "" where there is none."""
    place = next((trial.folder / REPORT for trial in group.trials if (trial.folder / REPORT).exists()), None)
    return quote(Path(os.path.relpath(place, folder)).as_posix()) if place else ""


def _best(groups: Sequence[Group], score: Score, folder: Path) -> Iterator[BestLine]:
    """The best group; of those whose trials all meet their requirements, where there are any."""
    assert score.better is not None
    known = [(group, item) for group, item in zip(groups, score.folded, strict=True) if item and item.mean is not None]
    met = [(group, item) for group, item in known if all(one.scorecard and one.scorecard.met for one in group.trials)]
    required = any(one.scorecard and one.scorecard.requirements for group, _ in known for one in group.trials)
    among = met or known
    top = best([item.mean for _, item in among if item.mean is not None], score.better)
    group, item = next((group, item) for group, item in among if item.mean == top)
    spread = noise(score.folded)
    alike = sum(told_apart(item, other, spread) is False for one, other in among if one is not group)
    notes = [f"{counted(alike, 'other')} not told apart from it"] if alike else []
    if required:
        notes.append(f"of the {len(met)} that meet their requirements" if met else "no group meets its requirements")
    notes += [counted(len(item.values), "seed")]
    line = command(group)
    yield BestLine(
        score=f"{score.label}, {direction(score.better)}",
        value=shown(top, item.first.unit).full,
        label=group.label,
        link=link(group, folder),
        line=f"steelyard run {shlex.join(line)}" if line else "",
        note="; ".join(notes),
    )


def _influence(score: Score, one: Importance) -> Influence:
    return Influence(
        score=score.label,
        explained=f"{one.explained:.0%}",
        shares=[(key, max(0.0, share)) for key, share in one.shares.items()],
        count=one.count,
    )


def _order(keys: Sequence[str], found: Sequence[Importance]) -> list[str]:
    """The keys that matter most first, where somebody knows."""
    weights = {key: max((one.shares.get(key, 0.0) for one in found), default=0.0) for key in keys}
    return sorted(keys, key=lambda key: -weights[key])


@lru_cache(maxsize=1)
def _script() -> Markup:
    text = files("steelyard.report").joinpath("templates/explorer.js").read_text(encoding="utf-8")
    return Markup(text)  # noqa: S704, our own file
