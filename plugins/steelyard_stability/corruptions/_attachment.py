"""The live half of `stability=corruptions`."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import final

from steelyard.attachment import Attachment
from steelyard.measurement import Artefact, Measurement, Status
from steelyard.problem import Refused
from steelyard.runs import Run
from steelyard_stability.corruptions._asking import Answers, ask
from steelyard_stability.corruptions._families import Family, family_for
from steelyard_stability.corruptions._rows import MEANINGS, rows
from steelyard_stability.corruptions._showing import examples
from steelyard_stability.corruptions._text import Rules
from steelyard_stability.corruptions.plugin import Corruptions

SPLIT = "test"


@final
class CorruptionsAttachment(Attachment):
    """Asks the model about every test example once for each kind and severity."""

    def __init__(self, plugin: Corruptions) -> None:
        self._plugin = plugin

    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """Answers that stay, without labels; then accuracy; then pictures."""
        plugin = self._plugin
        limits = [run.deadline] if run.deadline is not None else []
        if plugin.max_seconds is not None:
            limits.append(time.monotonic() + plugin.max_seconds)
        rules = Rules(budget=plugin.budget, protected=plugin.protected, templates=plugin.templates)
        try:
            family = family_for(run, split=SPLIT, rules=rules)
            kinds = plugin.kinds or family.kinds
            points = [(kind, severity) for kind in kinds for severity in sorted({*plugin.severities})]
            until = min(limits, default=None)
            answers = ask(run, family, split=SPLIT, points=points, examples=plugin.examples, until=until)
        except Refused as refused:
            yield from _skipped(str(refused))
            return
        if not answers.points:
            yield from _skipped("none of the kinds found anything to change in the test examples")
            return
        doubt = _doubt(answers)
        for row in rows(answers, split=SPLIT, note=_note(family), cut=_cut(answers)):
            told = replace(row, meaning=MEANINGS[row.name])
            yield replace(told, status=Status.INVALID, note=f"{doubt}; {row.note}") if doubt else told
        yield from examples(run, family, answers, split=SPLIT, count=plugin.shown)


def _skipped(reason: str) -> Iterator[Measurement]:
    for name in ("unchanged_mean", "accuracy_mean"):
        yield Measurement(name=name, status=Status.SKIPPED, note=reason, meaning=MEANINGS[name])


def _doubt(answers: Answers) -> str:
    """The control that failed, or ""."""
    if answers.moved:
        return f"control without damage failed: {answers.moved}"
    if answers.constant and all(bool(same.all()) for same in answers.same.values()):
        return f"the model decides {answers.constant} for every input, so nothing could ever change its answer"
    return ""


def _note(family: Family) -> str:
    return f"one draw per example, kind and severity; {family.note}".rstrip("; ")


def _cut(answers: Answers) -> str:
    """That time was up, or ""."""
    count = len(answers.right)
    if count == answers.wanted:
        return ""
    return f"; time was up after the first {count:,} of {answers.wanted:,} examples (max_seconds)"
