"""What may be chosen: the rules that look at options, before any plugin is loaded."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# A config is a tree of anything.

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from steelyard import registry
from steelyard._conversion import Wrong, convert
from steelyard.composing import source
from steelyard.composing._catalogue import Raw
from steelyard.composing.source import NONE
from steelyard.estimating.settings import Planning
from steelyard.option import Option
from steelyard.problem import Problem
from steelyard.registry import did_you_mean, nearest
from steelyard.schema import attempt, show
from steelyard.sweeping.settings import Sweep

ROOT: dict[str, tuple[Any, Option | None]] = {
    "seed": (int, Option("of everything random", ge=0)),
    "checkpoints": (Literal["auto", "last", "none"], None),
    "deadline": (float | None, Option("for measuring", unit="seconds", gt=0)),
}


def selecting(challenge: str, chosen: Iterable[str], plugin: str) -> str:
    """The override that adds a plugin to what is chosen already."""
    options = [option for option in chosen if option != NONE]
    return _choosing(challenge, [*options, plugin])


def choices(raw: Raw) -> Iterator[Problem]:
    """Nothing chosen, `none` beside others, an option twice, two options that fill one node."""
    for challenge in registry.challenges():
        chosen = raw.choices.get(challenge, ())
        distinct = list(dict.fromkeys(chosen))
        here = _choosing(challenge, chosen)
        if not chosen:
            message = f"nothing is chosen for {challenge}: the option that selects no plugin is {NONE}"
            yield Problem(message, f"{challenge}={NONE}")
        elif len(distinct) < len(chosen):
            yield Problem(f"{here} chooses the same option twice", _choosing(challenge, distinct))
        elif NONE in chosen and len(chosen) > 1:
            rest = [option for option in chosen if option != NONE]
            yield Problem(f"{here} chooses {NONE} beside others", _choosing(challenge, rest))
    for key, options in raw.fillers.items():
        if len(options) > 1:
            challenge = key.partition(".")[0]
            rest = [option for option in raw.choices[challenge] if option not in options[:-1]]
            yield Problem(f"{' and '.join(options)} of {challenge} both fill {key}", _choosing(challenge, rest))


def roots(raw: Raw, tree: Mapping[str, Any]) -> Iterator[Problem]:
    """Keys of the root that nobody reads: Hydra refuses them when typed, but lets a file add them."""
    added = {word.key.partition(".")[0] for word in raw.words if word.adds}
    known = {*source.roots(), *raw.choices, *registry.challenges(), *added}
    for key, value in tree.items():
        if key not in known:
            hint = did_you_mean(key, known) or "; helper values stand under vars"
            near = nearest(key, known) or f"vars.{key}"
            step = (
                next((f".{name}={show(item)}" for name, item in value.items()), "") if isinstance(value, dict) else ""
            )
            yield Problem(f"a config file sets {key}, which nothing reads{hint}", f"{near}{step or '=' + show(value)}")


def values(tree: Mapping[str, Any]) -> Iterator[Problem]:
    """The values of the root that are no group's."""
    for key, (kind, option) in ROOT.items():
        try:
            convert(tree.get(key), kind, option)
        except Wrong as wrong:
            if "${" not in str(tree.get(key)):
                yield Problem(f"{key} {wrong.reason}", f"{key}={wrong.example}")
    yield from attempt(Sweep, tree.get("sweep") or {}, path="sweep")[1]
    yield from attempt(Planning, tree.get("plan") or {}, path="plan")[1]


def _choosing(challenge: str, options: Iterable[str]) -> str:
    words = list(options)
    return f"{challenge}={words[0]}" if len(words) == 1 else f"{challenge}=[{','.join(words)}]"
