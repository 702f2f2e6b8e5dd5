"""Sets of examples that show a concept: which ones are meant, and what is wrong with the words."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from steelyard.problem import Problem
from steelyard_interpretability.concepts import KINDS

FILES = ("folder", "rows")
READ = (".npy", ".txt")
COMPARED = re.compile(r"(?P<name>.+?)\s*(?P<sign>[<>])\s*(?P<value>[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)")


def split(words: str) -> tuple[str, str]:
    """The kind of a set and what it names."""
    kind, _, what = words.partition(":")
    return kind.strip(), what.strip()


def complaints(sets: Sequence[str], *, option: str) -> Iterator[Problem]:
    """What is wrong with the words, without looking at the data.

    Args:
        sets: As they were given.
        option: As an override names it.
    """
    for words in dict.fromkeys(sets):
        kind, what = split(words)
        others = [other for other in dict.fromkeys(sets) if other != words]
        fix = f"{option}=[{','.join(others) or 'label:0'}]"
        if sets.count(words) > 1:
            yield Problem(f"the concept {words!r} is named twice", fix=f"{option}=[{','.join(dict.fromkeys(sets))}]")
        if kind not in KINDS or not what:
            kinds = ", ".join(f"{name}:..." for name in KINDS)
            yield Problem(f"the concept {words!r} is none of {kinds}", fix=fix)
        elif kind in FILES and not Path(what).expanduser().exists():
            yield Problem(f"the concept {words!r} names a file or folder that is not there", fix=fix)
        elif kind == "folder" and not Path(what).expanduser().is_dir():
            yield Problem(f"the concept {words!r} names no folder; a single file is rows:{what}", fix=fix)
        elif kind == "rows" and Path(what).suffix not in READ:
            yield Problem(f"the concept {words!r} names a file that is none of {', '.join(READ)}", fix=fix)
