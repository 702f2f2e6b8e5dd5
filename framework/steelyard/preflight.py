"""Preflight: all claims and all problems, before anything is changed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from steelyard import ranks
from steelyard.draft import Draft
from steelyard.plugin import Plugin
from steelyard.problem import Problem, Refused
from steelyard.seam import TRAINER_ARGUMENTS, Seam
from steelyard.selection import Selected


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Who changes a seam.

    Attributes:
        party: "privacy.dp_sgd" or "trainer.gradient_clip_val=1.0".
        seam: What is claimed.
        owns: Alone, or shared.
        release: The override that gives the claim up.
        by_user: True for an argument of the Trainer; these never conflict with each other.
    """

    party: str
    seam: Seam
    owns: bool
    release: str
    by_user: bool = False


def claims(selected: Sequence[Selected], trainer: dict[str, Any]) -> Iterator[Claim]:
    """The claims of the core, for the arguments that the user has set, and those of the plugins."""
    for name, argument in TRAINER_ARGUMENTS.items():
        value = trainer.get(name)
        if value is not None and value != argument.default:
            yield Claim(
                party=f"trainer.{name}={value}",
                seam=argument.seam,
                owns=argument.owns,
                release=f"trainer.{name}={'null' if argument.default is None else argument.default}",
                by_user=True,
            )
    for choice in selected:
        for owns, seams in ((True, choice.plugin.owns), (False, choice.plugin.shares)):
            for seam in sorted(seams, key=list(Seam).index):
                yield Claim(party=choice.key, seam=seam, owns=owns, release=_without(choice.key, selected))


def conflicts(found: Sequence[Claim]) -> Iterator[Problem]:
    """Two parties at one seam of which at least one owns it; each pair is named once."""
    seen: set[tuple[str, str]] = set()
    for one, other in combinations(found, 2):
        pair = (one.party, other.party)
        strangers = one.party != other.party and not (one.by_user and other.by_user)
        if strangers and one.seam is other.seam and (one.owns or other.owns) and pair not in seen:
            seen.add(pair)
            owner, guest = (one, other) if one.owns else (other, one)
            message = f"{owner.party} owns the {one.seam} of the run, and {guest.party} changes them too"
            yield Problem(f"{message} (or: {other.release})", fix=one.release, party="claims")


def preflight(selected: Sequence[Selected], draft: Draft) -> tuple[Problem, ...]:
    """The notes of all plugins.

    Raises:
        Refused: With every problem of every party, if one of them is an error.
    """
    # Also where it cannot be told yet how much: a plugin that spends says so by its own `spends`.
    draft.spenders = tuple(choice.key for choice in selected if type(choice.plugin).spends is not Plugin.spends)
    problems = [*conflicts(list(claims(selected, draft.trainer))), *ranks.problems(selected, draft.trainer)]
    for choice in selected:
        found = [replace(problem, party=choice.key) for problem in choice.plugin.preflight(draft)]
        problems += [_postponed(problem, selected) for problem in found]
    if any(problem.level == "error" for problem in problems):
        raise Refused(problems)
    return tuple(problems)


def _postponed(problem: Problem, selected: Sequence[Selected]) -> Problem:
    """A note in place of an error that another plugin may clear when it is attached."""
    changing = [
        choice.key
        for choice in selected
        if choice.key != problem.party and problem.seam in choice.plugin.owns | choice.plugin.shares
    ]
    if problem.seam is None or problem.level == "note" or not changing:
        return problem
    told = f"{problem.message}; looked at again once {' and '.join(changing)} changed the {problem.seam} of the run"
    return replace(problem, level="note", message=told)


def _without(key: str, selected: Sequence[Selected]) -> str:
    challenge = key.partition(".")[0]
    keys = [other.key for other in selected if other.key.startswith(f"{challenge}.") and other.key != key]
    rest = [other.partition(".")[2] for other in keys]
    return f"{challenge}={'none' if not rest else rest[0] if len(rest) == 1 else '[' + ','.join(rest) + ']'}"
