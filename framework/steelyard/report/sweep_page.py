"""The page of a sweep: what was gained and what it cost, group beside group."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from markupsafe import Markup

from steelyard.measurement import Better
from steelyard.report import assets, chart
from steelyard.report.environment import fill
from steelyard.report.explorer import explorer
from steelyard.report.measures import Measure, joined, measures, section_keys
from steelyard.report.motif import steelyard
from steelyard.report.numbers import duration
from steelyard.report.overlays import Overlay, overlays
from steelyard.report.page import REPORT
from steelyard.report.rows import Row, row
from steelyard.report.story import story
from steelyard.report.sweep_verdict import sweep_verdict
from steelyard.report.telling import telling
from steelyard.report.tradeoffs import trade_offs
from steelyard.report.words import Anchors, counted, dataset, direction, words
from steelyard.trials.folding import Group
from steelyard.trials.reading import Trial, setting
from steelyard.trials.step_costs import step_costs

if TYPE_CHECKING:
    from steelyard.sweep import SweepSummary
    from steelyard.trials.comparing import Said

LESS = direction(Better.LOWER)
SPENT = 2
"""Rows at a glance of what a run takes, beside the first."""
HEADLINES = 4
"""Measurements on a challenge's card."""
MOST_PICTURES = 8
"""Groups whose pictures stand side by side."""
MOST_PICTURE_BYTES = 400_000
"""Of a large sweep; the group that passes it is still shown."""

_ANCHORS = (
    *("verdict", "glance", "explore", "explored", "explorer", "trade-offs", "pictures", "numbers"),
    *("costs", "said", "trials"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Challenge:
    title: str
    anchor: str
    headlines: list[Measure]
    sections: list[tuple[str, list[Measure], list[Overlay]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """One trial in the table of all trials."""

    name: str
    settings: list[str]
    seed: str
    state: str
    reason: str
    met: str
    seconds: str
    link: str


def sweep_page(summary: "SweepSummary") -> bytes:
    """The page as UTF-8; made from the trials' folders, without their code."""
    groups = telling(summary.groups)
    anchors = Anchors()
    for fixed in _ANCHORS:
        anchors(fixed)
    keys = section_keys(groups)
    scores = {key: measures(groups, key) for key in keys}
    once = joined(groups, scores)
    glances = {key: glance(once[key]) for key in keys}
    says = sweep_verdict(summary)
    return fill(
        "sweep.html",
        title=_title(summary),
        verdict=says,
        motif=steelyard(says.tone),
        story=story(groups, [item for found in glances.values() for item in found]),
        common=_common(summary),
        facts=_facts(summary),
        groups=[(chart.key(group.index), group.label, counted(len(group.trials), "trial")) for group in groups],
        challenges=_challenges(groups, keys, scores, once, anchors),
        glance=[
            (words(key.partition(".")[0]), item)
            for key, found in glances.items()
            for item in [*found, *spent(once[key], found)]
        ],
        explorer=explorer(
            summary.groups,
            summary.keys,
            [item.name for found in glances.values() for item in found],
            summary.folder,
        ),
        hidden=_hidden(len(groups), len(summary.groups)),
        trade_offs=trade_offs(groups, list(once.values())),
        pictures=_pictures(groups, many=len(groups) < len(summary.groups)),
        costs=list(step_costs(groups)),
        said=[_said(item) for item in summary.said],
        keys=[key.rpartition(".")[2] for key in summary.keys],
        trials=[_line(trial, summary) for trial in summary.trials],
        table=summary.table.name,
    )


def _title(summary: "SweepSummary") -> str:
    labels = [group.label for group in summary.groups]
    return " against ".join(labels) if len(labels) in (1, 2) else f"{counted(len(summary.trials), 'trial')} compared"


def _common(summary: "SweepSummary") -> str:
    """What all trials chose alike; the choices that say nothing are left out."""
    cards = [trial.scorecard for trial in summary.trials if trial.scorecard]
    first = cards[0].choices.items() if cards else ()
    alike = [(key, value) for key, value in first if all(card.choices.get(key) == value for card in cards)]
    return ", ".join(f"{key}={value}" for key, value in alike if value not in ("none", "default"))


def _hidden(shown: int, total: int) -> str:
    if shown == total:
        return ""
    return f"{shown} of {total:,} groups stand side by side, the best at each plugin's first score; all are below."


def _facts(summary: "SweepSummary") -> list[tuple[str, str]]:
    trials = summary.trials
    cards = [trial.scorecard for trial in trials if trial.scorecard]
    seeds = sorted({trial.seed for trial in trials if trial.seed is not None})
    facts = [("Folder", summary.folder.resolve().name), ("Trials", f"{len(trials):,}")]
    facts += [("Seeds", ", ".join(map(str, seeds[:8])) + (" ..." if len(seeds) > 8 else ""))] if seeds else []
    return [*facts, ("Took", duration(sum(card.seconds for card in cards)))] if cards else facts


def _challenges(
    groups: Sequence[Group],
    keys: Sequence[str],
    scores: Mapping[str, list[Measure]],
    once: Mapping[str, list[Measure]],
    anchors: Anchors,
) -> list[_Challenge]:
    names = dict.fromkeys(key.partition(".")[0] for key in keys)
    members = {name: [key for key in keys if key.partition(".")[0] == name] for name in names}
    return [
        _Challenge(
            title=words(name),
            anchor=anchors(name),
            headlines=headlines([once[key] for key in members[name]]),
            sections=[(key.partition(".")[2] or key, scores[key], overlays(groups, key)) for key in members[name]],
        )
        for name in names
    ]


def glance(section: Sequence[Measure]) -> list[Measure]:
    """The first measurement that has a direction and sets the groups apart, else the first with a direction."""
    judged = [item for item in section if item.direction and any(cell.value for cell in item.cells)]
    return next(([item] for item in judged if item.varies), judged[:1])


def spent(section: Sequence[Measure], shown: Sequence[Measure]) -> list[Measure]:
    """What else a run takes, each in a unit of its own (memory and energy beside time), where it sets groups apart."""
    found = {item.unit: item for item in reversed(section) if item.direction == LESS and item.varies and item.takes}
    known = {item.unit for item in shown}
    if not any(item.takes for item in shown):
        return []
    return [item for item in section if found.get(item.unit) is item and item.unit not in known][:SPENT]


def headlines(sections: Sequence[Sequence[Measure]]) -> list[Measure]:
    """The first measurements of each plugin that have a direction, turn by turn; those that vary come first."""
    queues = [[item for item in section if item.direction] for section in sections]
    turns = [queue[turn] for turn in range(max(map(len, queues), default=0)) for queue in queues if turn < len(queue)]
    chosen = sorted(turns, key=lambda item: not item.varies)[:HEADLINES]
    return [item for queue in queues for item in queue if any(item is other for other in chosen)]


def _pictures(
    groups: Sequence[Group], *, many: bool
) -> list[tuple[str, list[tuple[Markup, str, assets.ShownPicture]]]]:
    """Pictures of the same plugin and name side by side, of the first weighed trial of each group.

    Where groups are many, only as many as keep the page light.
    """
    found: dict[str, list[tuple[Markup, str, assets.ShownPicture]]] = {}
    taken = 0
    for group in groups[:MOST_PICTURES]:
        if many and taken > MOST_PICTURE_BYTES:
            break
        trial = next((trial for trial in group.trials if trial.scorecard), None)
        for section in trial.scorecard.sections if trial and trial.scorecard else ():
            for artefact in section.artefacts:
                if trial and artefact.kind == "picture":
                    item = assets.picture(trial.folder, artefact)
                    taken += len(item.uri)
                    found.setdefault(artefact.path, []).append((chart.key(group.index), group.label, item))
    return [(items[0][2].title, items) for items in found.values()]


def _said(
    item: "Said",
) -> tuple[str, list[Row], list[assets.ShownPicture], list[assets.ShownSound], list[assets.ShownTable], str]:
    pictures = [
        assets.inline(
            picture.png, title=picture.title, alt=picture.alt, split=dataset(picture.split), path=picture.name
        )
        for picture in item.pictures
    ]
    tables = [
        assets.ShownTable(
            title=table.title,
            columns=list(table.columns),
            rows=[["" if cell is None else str(cell) for cell in cells] for cells in table.rows],
            more=0,
            split=dataset(table.split),
            path="",
        )
        for table in item.tables
    ]
    sounds = [
        assets.audible(sound.wav, title=sound.title, alt=sound.alt, split=dataset(sound.split), path=sound.name)
        for sound in item.sounds
    ]
    shown = [row(measurement, item.key) for measurement in item.measurements]
    return item.key, shown, pictures, sounds, tables, item.error


def _line(trial: Trial, summary: "SweepSummary") -> _Line:
    card = trial.scorecard
    unmet = [row.name for row in card.requirements if row.judgement != "met"] if card else []
    return _Line(
        name=trial.name,
        settings=[setting(trial, key) for key in summary.keys],
        seed="" if trial.seed is None else str(trial.seed),
        state=trial.state,
        reason=trial.reason,
        met="" if not card or not card.requirements else "met" if not unmet else f"not met: {', '.join(unmet)}",
        seconds=duration(card.seconds) if card else "",
        link=_link(trial.folder / REPORT, summary.folder),
    )


def _link(report: Path, folder: Path) -> str:
    """A relative link, so that the folder can be moved; "" where there is no report."""
    return quote(Path(os.path.relpath(report, folder)).as_posix()) if report.exists() else ""
