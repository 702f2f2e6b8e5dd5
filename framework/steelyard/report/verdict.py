"""The verdict in words: what became of the run and of its requirements."""

from collections.abc import Sequence
from dataclasses import dataclass

from steelyard.folder import RunStatus, State
from steelyard.measurement import Status
from steelyard.report.numbers import number
from steelyard.report.words import counted, listing, words
from steelyard.scorecard import Judgement, Requirement, Scorecard

ENDED = {
    State.RUNNING: "This run is still going on.",
    State.DONE: "This run is done, but left no scorecard.",
    State.FAILED: "This run failed before it was weighed.",
    State.REFUSED: "This run was refused before training.",
    State.INTERRUPTED: "This run was interrupted before it was weighed.",
    State.TERMINATED: "This run was told to end before it was weighed.",
    State.PRUNED: "The search gave this run up before its end: others were better at the same step.",
    State.KILLED: "This run was killed before it was weighed: its process is gone without a word.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The first lines of the page.

    Attributes:
        tone: "good", "bad" or "open".
        line: One sentence.
        details: More sentences, each on its own line.
    """

    tone: str
    line: str
    details: tuple[str, ...] = ()


def verdict(scorecard: Scorecard | None, status: RunStatus | None) -> Verdict:
    """What to say first."""
    if scorecard is None:
        state = status.state if status else State.KILLED
        return Verdict(tone="open" if state is State.RUNNING else "bad", line=ENDED[state])
    unmet = [row for row in scorecard.requirements if row.judgement is not Judgement.MET]
    doubtful = (*_doubts(scorecard), *crowded([scorecard]))
    if scorecard.failed:
        line = f"{_failed(scorecard.failed)} {_requirements(scorecard)}".strip()
        return Verdict(tone="bad", line=line, details=(*map(sentence, unmet), *doubtful))
    if unmet:
        return Verdict(tone="bad", line=_requirements(scorecard), details=(*map(sentence, unmet), *doubtful))
    if scorecard.requirements:
        return Verdict(tone="good", line=_requirements(scorecard), details=doubtful)
    return Verdict(tone="open", line="Weighed; no requirements were set.", details=doubtful)


def sentence(requirement: Requirement) -> str:
    """One requirement in words."""
    bound = "at most" if requirement.bound == "max" else "at least"
    held = "" if requirement.held is None else f", {number(requirement.held)} was held against it"
    reason = f": {requirement.reason}" if requirement.reason else ""
    return f"{requirement.name} {bound} {number(requirement.limit)} is {requirement.judgement}{held}{reason}"


def crowded(scorecards: Sequence[Scorecard]) -> tuple[str, ...]:
    """That times of some runs are too long, since others had the processors; nothing where they had them seldom."""
    found = [card.waiting for card in scorecards if card.waiting]
    if not found:
        return ()
    one = len(scorecards) == 1
    who = "this run" if one else f"{len(found):,} of {counted(len(scorecards), 'run')}"
    share = f"{found[0]:.0%} of its" if one else f"up to {max(found):.0%} of their"
    which = f"{who} waited for a processor {share} time"
    return (f"The machine was busy: {which}, so times here are longer than on a machine of its own.",)


def _requirements(scorecard: Scorecard) -> str:
    total = len(scorecard.requirements)
    if not total:
        return ""
    met = sum(row.judgement is Judgement.MET for row in scorecard.requirements)
    output = f" The output's stability: {scorecard.stability}." if scorecard.stability else ""
    if met == total:
        return f"{'The requirement is' if total == 1 else f'All {total} requirements are'} met.{output}"
    return f"{total - met} of {counted(total, 'requirement')} {'is' if total - met == 1 else 'are'} not met.{output}"


def _failed(keys: Sequence[str]) -> str:
    return f"{listing(keys)} failed while measuring; the rest was weighed."


def _doubts(scorecard: Scorecard) -> list[str]:
    found: list[str] = []
    said_of = {Status.INVALID: "not to be trusted, since a control failed", Status.SKIPPED: "skipped"}
    for status, said in said_of.items():
        names = sorted({item.name for item in scorecard.measurements() if item.status is status})
        if names:
            found.append(f"{words(said)}: {listing(names)}.")
    return found
