"""The words of the command line, read by Hydra's own grammar."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# A config is a tree of anything.

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from hydra.errors import HydraException

from steelyard.problem import Problem, Refused, refuse
from steelyard.schema import show


@dataclass(frozen=True, slots=True)
class Word:
    """One override.

    Attributes:
        text: As typed.
        key: Dotted path or group, without prefix and package.
        values: What it sets, one per alternative of a sweep; empty for intervals and globs.
        adds: True behind `+` or `++`.
        deletes: True behind `~`.
        sweeps: True if it has several alternatives.
    """

    text: str
    key: str
    values: tuple[Any, ...]
    adds: bool
    deletes: bool
    sweeps: bool

    @property
    def is_hydra(self) -> bool:
        """True for Hydra's own config."""
        return self.key == "hydra" or self.key.startswith(("hydra.", "hydra/"))

    def touches(self, path: str) -> bool:
        """True if it sets the node at `path` or something below it, also from above: `a={b:{...}}` sets `a.b`."""
        if self.key == path or self.key.startswith(f"{path}."):
            return True
        if not path.startswith(f"{self.key}."):
            return False
        below = path.removeprefix(f"{self.key}.").split(".")
        return any(_holds(value, below) for value in self.values)


def read(words: Iterable[str]) -> tuple[Word, ...]:
    """The words, understood.

    Raises:
        Refused: Naming every word that is no override.
    """
    found: list[Word] = []
    problems: list[Problem] = []
    for text in words:
        try:
            found.append(_read(text))
        except HydraException as error:
            problems.append(_unreadable(text, error))
    if problems:
        raise Refused(problems)
    return tuple(found)


def without_effect(words: Iterable[Word]) -> Iterator[Problem]:
    """Hydra's own folders, which Steelyard chooses itself."""
    for word in words:
        if word.key in (
            "hydra.run.dir",
            "hydra.sweep.dir",
            "hydra.sweep.subdir",
            "hydra.output_subdir",
            "hydra.job.chdir",
        ):
            yield Problem(f"{word.text} does nothing: runs are kept below outputs, in the working folder")


def names(value: Any) -> tuple[str, ...]:
    """The options that a value of a group chooses: one word, or a list of them."""
    if value is None:
        return ()
    return tuple(str(item) for item in value) if isinstance(value, list | tuple) else (str(value),)


def searchpath(folders: Sequence[Path]) -> tuple[str, ...]:
    """The override that adds folders of the user's own YAML.

    Raises:
        Refused: If one is no folder.
    """
    for folder in folders:
        if not folder.is_dir():
            raise refuse(f"there is no folder {folder}", fix="--config-dir PATH/TO/FOLDER")
    if not folders:
        return ()
    quoted = ",".join("'file://" + str(folder.resolve()).replace("'", r"\'") + "'" for folder in folders)
    return (f"hydra.searchpath=[{quoted}]",)


def _holds(value: Any, path: Sequence[str]) -> bool:
    for step in path:
        if not isinstance(value, dict) or step not in value:
            return False
        value = value[step]
    return True


@lru_cache(maxsize=4096)
def _read(text: str) -> Word:
    """One word; the trials of a sweep have most of theirs in common, and reading one takes long."""
    (override,) = OverridesParser.create().parse_overrides([text])
    return _word(text, override)


def _word(text: str, override: Override) -> Word:
    sweeps = override.is_sweep_override()
    return Word(
        text=text,
        key=str(override.key_or_group),
        values=tuple(_alternatives(override)) if sweeps else (override.value(),),
        adds=override.is_add() or override.is_force_add(),
        deletes=override.is_delete(),
        sweeps=sweeps,
    )


def _alternatives(override: Override) -> Iterator[Any]:
    # What a glob finds is options, which need no look at their values; and only Hydra knows them.
    if not override.is_discrete_sweep() or override.value_type is ValueType.GLOB_CHOICE_SWEEP:
        return
    # Hydra writes each alternative as text; read as an override of its own it is a value again.
    for alternative in override.sweep_string_iterator():
        (single,) = OverridesParser.create().parse_overrides([f"x={alternative}"])
        yield single.value()


def _unreadable(text: str, error: HydraException) -> Problem:
    key, equals, value = text.partition("=")
    if not equals:
        return Problem(f"{text} is no override: KEY=VALUE sets a value", f"{text}=...")
    reason = str(error).splitlines()[0] if str(error) else "it cannot be read"
    return Problem(
        f"{text} cannot be read: {reason}", f"{key}='{value}'" if "'" not in value else f"{key}={show('...')}"
    )
