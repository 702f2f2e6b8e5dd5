"""Declarations for the conformance suite's own tests: a sound one, and others with one defect each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from steelyard.option import Option
from steelyard.plugin import Plugin
from steelyard.problem import Problem
from steelyard.seam import Seam

if TYPE_CHECKING:
    from steelyard.attachment import Attachment
    from steelyard.draft import Draft


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, kw_only=True)
class Nested:
    """Settings inside settings."""

    depth: Annotated[int, Option("how deep", ge=0)] = 1


@dataclass(frozen=True, kw_only=True)
class Subject(Plugin):
    """Does everything right, unless `defect` names what its live half does wrong."""

    defect: Annotated[str, Option("what is wrong")] = ""

    def preflight(self, draft: Draft) -> Iterator[Problem]:
        from helpers import _broken

        return _broken.preflight(self.defect, draft)

    def attach(self, draft: Draft) -> Attachment:
        from helpers import _broken

        return _broken.attach(self.defect, draft)


@dataclass(frozen=True, kw_only=True)
class Rich(Subject):
    """Has a field of every type that is allowed."""

    flag: Annotated[bool, Option("a switch")] = True
    number: Annotated[int | None, Option("a number or nothing", ge=0)] = None
    share: Annotated[float, Option("a share", unit="of all", ge=0, le=1)] = 0.5
    place: Annotated[Path, Option("a file")] = Path("here")
    colour: Annotated[Colour, Option("a colour")] = Colour.RED
    word: Annotated[Literal["mean", "sum"], Option("one of two")] = "mean"
    levels: Annotated[tuple[float, ...], Option("levels")] = (0.1, 0.2)
    weights: Annotated[dict[str, float], Option("by name")] = field(default_factory=lambda: {"a": 1.0})
    nested: Nested = Nested()


@dataclass(frozen=True, kw_only=True)
class Changing(Subject):
    """Scales every gradient, and claims it."""

    shares = frozenset({Seam.GRADIENTS})


class Undecorated(Subject):
    """Forgot the decorator."""


@dataclass(frozen=True)
class Positional(Subject):
    """Forgot `kw_only`."""

    share: Annotated[float, Option("a share")] = 0.5


@dataclass(frozen=True, kw_only=True)
class ListField(Subject):
    """Holds a list."""

    levels: Annotated[list[float], Option("levels")] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Logging(Subject):
    """Has a field that Lightning overwrites."""

    log: Annotated[bool, Option("whether to log")] = False


@dataclass(frozen=True, kw_only=True)
class Unexplained(Subject):
    """Has a field without a meaning."""

    share: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Undescribed(Subject):
    pass


@dataclass(frozen=True, kw_only=True)
class TupleField(Subject):
    """Holds a tuple; who gives it a list gets something else back from the config."""

    levels: Annotated[tuple[float, ...], Option("levels")] = ()


@dataclass(frozen=True, kw_only=True)
class WrongDefault(Subject):
    """Has a default that it would refuse."""

    share: Annotated[float, Option("a share", ge=0)] = -1.0


@dataclass(frozen=True, kw_only=True)
class Incomparable(Subject):
    """Is equal to nothing."""

    def __eq__(self, other: object) -> bool:
        return self is other


@dataclass(frozen=True, kw_only=True)
class Unhashed(Subject):
    """Has no hash."""

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, kw_only=True)
class Rehashed(Subject):
    """Has another hash than its equal."""

    def __hash__(self) -> int:
        return id(self)


@dataclass(frozen=True, kw_only=True)
class Unpicklable(Subject):
    """Does not pickle."""

    def __reduce__(self) -> Any:
        raise TypeError("cannot be pickled")
