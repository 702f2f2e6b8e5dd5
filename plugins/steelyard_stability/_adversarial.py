"""The live half of `stability=adversarial`."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import final

import torch
from torch import Tensor

from steelyard.attachment import Attachment
from steelyard.measurement import Artefact, Better, Measurement, Status, Table
from steelyard.runs import Run
from steelyard.statistics import clopper_pearson, mean_interval
from steelyard_stability._assault import Assault, assault, planned
from steelyard_stability._attack_pictures import worst_examples
from steelyard_stability._staging import SPLIT
from steelyard_stability.adversarial import Adversarial
from steelyard_stability.masking import Check

MEANINGS = {
    "worst_flips": "share of the test examples whose answer an attacker can change within the largest radius",
    "flips": "share of the test examples whose answer an attacker can change within this radius",
    "robust_accuracy": "how right the answers still are when an attacker may change each input within this radius",
    "masking_flags": "tests of the attack itself that it failed; with one of them failed its numbers mean nothing",
}
FALLEN = 0.95
"""From this share on a radius is too wide to tell examples apart."""
WORDS = {"linf": "every value changed by at most the radius", "l2": "a change of at most the radius in length"}


@final
class AdversarialAttachment(Attachment):
    """Attacks after training; during training it does nothing."""

    def __init__(self, plugin: Adversarial) -> None:
        self._plugin = plugin

    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """Flips without labels first, then accuracy; the attack itself is tested before it is believed."""
        plugin = self._plugin
        limits = [run.deadline] if run.deadline is not None else []
        if plugin.max_seconds is not None:
            limits.append(time.monotonic() + plugin.max_seconds)
        found = assault(run, plugin, until=min(limits, default=None))
        if found.obstacle:
            for name in ("worst_flips", "flips", "robust_accuracy"):
                yield Measurement(
                    name=name, status=Status.SKIPPED, note=found.obstacle, meaning=MEANINGS[name], split=SPLIT
                )
            return
        doubt = "; ".join(found.doubts)
        rows = [*_rows(plugin, found, _note(run, plugin, found))]
        for row in rows:
            told = replace(row, meaning=MEANINGS[row.name], at_unit=_unit(run) if row.at else "")
            yield replace(told, status=Status.INVALID, note=f"{doubt}; {row.note}") if doubt else told
        yield from worst_examples(run, found.worst, norm=plugin.norm)
        if any(map(any, (by.values() for by in found.by))):
            yield _credits(plugin, found)
        if found.checks:
            yield from _tests(found)


def _note(run: Run, plugin: Adversarial, found: Assault) -> str:
    bounds = run.adapter.bounds
    limits = f", clipped to {bounds[0]:g}..{bounds[1]:g}" if bounds else f" over the {SPLIT} split"
    count = len(found.clean)
    rivals = any(check.name == "unbounded" for check in found.checks)
    tested = "" if rivals or not found.checks else "; too little time to test the attack by more than its gradient"
    less = "" if count == found.wanted else f"; time was up after {count} of {found.wanted} examples"
    return (
        f"{plugin.norm}: {WORDS[plugin.norm]}, in {_unit(run)}{limits}; untargeted, the attacker knows the weights; "
        f"{', '.join(plugin.attacks)} with {plugin.steps} steps, {_counted(plugin.restarts, 'random start')}, "
        f"{_counted(plugin.targets, 'target')}, {_counted(planned(run, plugin).queries, 'question')}; "
        f"{found.looks / count:.0f} looks an example{tested}{less}"
    )


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _unit(run: Run) -> str:
    """Of the radius."""
    unit = run.adapter.unit
    return unit if run.adapter.bounds else f"standard deviations of each {unit}"


def _rows(plugin: Adversarial, found: Assault, note: str) -> Iterator[Measurement]:
    last = len(plugin.radii) - 1
    words = f"at radius {plugin.radii[last]:g}; {note}{_too_wide(plugin, found)}"
    yield replace(_flips(found, last, words), name="worst_flips", better=Better.LOWER)
    for place, radius in enumerate(plugin.radii):
        yield replace(_flips(found, place, note), at={"radius": radius})
    yield _accuracy(found.clean, found.clean, note, undecided=0, radius=0.0)
    for place, radius in enumerate(plugin.radii):
        open_ = ~found.finished[place]
        highest = found.marks[place]
        yield _accuracy(
            highest, torch.where(open_, 0.0, highest), note, undecided=int(open_.sum()), radius=float(radius)
        )


def _too_wide(plugin: Adversarial, found: Assault) -> str:
    """Smaller radii to ask for, where next to none is left at the smallest."""
    if float(found.fooled[0].double().mean()) < FALLEN:
        return ""
    smaller = ",".join(f"{radius / 10:g}" for radius in plugin.radii)
    return f"; nearly all fall at the smallest radius: stability.adversarial.radii=[{smaller}] tells more"


def _flips(found: Assault, place: int, note: str) -> Measurement:
    """Undecided examples widen the interval: its upper end is what it would be if all of them could be fooled."""
    count, fooled = len(found.clean), int(found.fooled[place].sum())
    undecided = int((~found.finished[place]).sum())
    if undecided == count:
        return _unknown("flips", count)
    return Measurement(
        name="flips",
        value=fooled / count,
        better=Better.LOWER,
        interval=(clopper_pearson(fooled, count)[0], clopper_pearson(fooled + undecided, count)[1]),
        count=count,
        split=SPLIT,
        note=_undecided(undecided, note),
    )


def _accuracy(highest: Tensor, lowest: Tensor, note: str, *, undecided: int, radius: float) -> Measurement:
    """The mean mark if no undecided example is fooled; the interval begins where all of them are."""
    count = len(highest)
    if undecided == count:
        return replace(_unknown("robust_accuracy", count), at={"radius": radius})
    if bool(((highest == 0) | (highest == 1)).all()):
        low = clopper_pearson(int(lowest.sum()), count)[0]
        value, high = float(highest.mean()), clopper_pearson(int(highest.sum()), count)[1]
        interval = (low, high)
    else:
        value, upper = mean_interval(highest, low=0, high=1)
        lower = mean_interval(lowest, low=0, high=1)[1]
        interval = None if upper is None or lower is None else (min(lower[0], upper[0]), upper[1])
    return Measurement(
        name="robust_accuracy",
        value=value,
        better=Better.HIGHER,
        interval=interval,
        count=count,
        split=SPLIT,
        at={"radius": radius},
        note=_undecided(undecided, note),
    )


def _unknown(name: str, count: int) -> Measurement:
    """Nothing was decided of any of the `count` examples, which is no 0."""
    return Measurement(
        name=name,
        status=Status.SKIPPED,
        split=SPLIT,
        note=f"time was up before one of the {count} examples was decided: stability.adversarial.max_seconds=600",
    )


def _undecided(count: int, note: str) -> str:
    told = f"{_counted(count, 'example')} undecided when time was up: the interval holds both ends"
    return f"{told}; {note}" if count else note


def _tests(found: Assault) -> Iterator[Measurement | Artefact]:
    flags = [check.name for check in found.checks if check.flagged]
    yield Measurement(
        name="masking_flags",
        value=float(len(flags)),
        better=Better.LOWER,
        count=len(found.checks),
        split=SPLIT,
        note=", ".join(flags) or f"none of {', '.join(check.name for check in found.checks)}",
        meaning=MEANINGS["masking_flags"],
    )
    yield Table(
        name="masking",
        title="Is the attack to be believed?",
        columns=["test", "value", "limit", "flagged", "what it would mean"],
        rows=[[check.name, *_short(check), "yes" if check.flagged else "no", check.words] for check in found.checks],
        split=SPLIT,
    )


def _short(check: Check) -> tuple[float, float]:
    """Value and limit by three digits."""
    return float(f"{check.value:.3g}"), float(f"{check.limit:.3g}")


def _credits(plugin: Adversarial, found: Assault) -> Table:
    return Table(
        name="attacks",
        title="How many examples each attack was the first to fool",
        columns=["radius", *plugin.attacks],
        rows=[
            [radius, *(by.get(attack, 0) for attack in plugin.attacks)]
            for radius, by in zip(plugin.radii, found.by, strict=True)
        ],
        split=SPLIT,
    )
