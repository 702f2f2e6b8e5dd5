"""The schema of a declaration: its fields as plain values for the config, and back again with every problem named.

OmegaConf locks nodes of frozen classes and knows no Literal, tuple or enum by value. So the config holds the mutable
twin of a declaration, plain values only, and `build` makes the declaration from it.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar, get_args, get_origin, get_type_hints

from steelyard._conversion import MISSING, Wrong, convert, show_type
from steelyard._trees import branch, plain, resolved, settings, show
from steelyard.option import Option
from steelyard.problem import Problem, Refused
from steelyard.registry import did_you_mean, nearest

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["Row", "attempt", "build", "describe", "plain", "settings", "show", "twin"]

T = TypeVar("T", bound="DataclassInstance")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One field of a declaration, for help, `plugins show` and the report.

    Attributes:
        path: Dotted below the declaration: "clip" or "schedule.warmup".
        type: As one reads it: "int | None", "mean | sum".
        default: As one would type it; "???" where the user has to give a value.
        unit: See `Option`.
        range: "> 0, <= 1", or "".
        help: See `Option`.
    """

    path: str
    type: str
    default: str
    unit: str
    range: str
    help: str


def twin(cls: "type[DataclassInstance]") -> dict[str, Any]:
    """The defaults of a declaration in plain values; `???` where there is none."""
    return {field.name: _default(field, kind) for field, kind in _fields(cls)}


def build(cls: type[T], node: Mapping[str, Any], *, path: str) -> T:
    """The declaration that a node of the config describes.

    Args:
        cls: A dataclass, e.g. the declaration of a plugin.
        node: Plain values or a DictConfig.
        path: Where the node stands, for the messages: "<challenge>.<plugin>".

    Raises:
        Refused: With every problem of the node: unknown fields, wrong types, values out of range.
    """
    made, problems = attempt(cls, node, path=path)
    if made is None:
        raise Refused(problems)
    return made


def attempt(
    cls: type[T], node: Mapping[str, Any], *, path: str, partial: bool = False
) -> tuple[T | None, tuple[Problem, ...]]:
    """Like `build`, but hands the problems back. `partial` forgives fields that have no value yet."""
    found = _values(cls, resolved(node), path=path)
    problems = [problem for problem in found.problems if not (partial and problem in found.absent)]
    if problems or found.absent:
        return None, tuple(problems)
    try:
        return cls(**found.values), ()
    except (ValueError, TypeError) as error:  # a declaration may check its fields against each other
        return None, (Problem(f"{path}: {error}", ""),)


def describe(cls: "type[DataclassInstance]", *, prefix: str = "") -> tuple[Row, ...]:
    """Every field as a row, nested declarations flattened."""
    rows: list[Row] = []
    for field, kind in _fields(cls):
        bare, option = _split(kind)
        if dataclasses.is_dataclass(bare) and isinstance(bare, type):
            rows.extend(describe(bare, prefix=f"{prefix}{field.name}."))
            continue
        default = _default(field, kind)
        rows.append(
            Row(
                path=f"{prefix}{field.name}",
                type=show_type(bare),
                default=default if default == MISSING else show(default),
                unit=option.unit if option else "",
                range=_range(option),
                help=option.help if option else "",
            )
        )
    return tuple(rows)


@dataclass(frozen=True, slots=True)
class _Values:
    values: dict[str, Any]
    problems: tuple[Problem, ...]
    absent: tuple[Problem, ...]


def _values(cls: "type[DataclassInstance]", given: Any, *, path: str) -> _Values:
    node = branch(given)
    if node is None:
        names = [field.name for field, _ in _fields(cls)]
        example = f"{path}.{names[0]}=..." if names else ""
        return _Values({}, (Problem(f"{path} holds settings, got {show(given)}", example),), ())
    known = {field.name: (field, kind) for field, kind in _fields(cls)}
    problems = [_unknown(path, name, node[name], list(known)) for name in node if name not in known]
    absent: list[Problem] = []
    values: dict[str, Any] = {}
    for name, (field, kind) in known.items():
        where = f"{path}.{name}"
        bare, option = _split(kind)
        if name not in node or (isinstance(node[name], str) and node[name] == MISSING):
            if _default(field, kind) == MISSING:
                absent.append(Problem(f"{where} has no default: it needs a value ({show_type(bare)})", f"{where}=..."))
            continue
        if dataclasses.is_dataclass(bare) and isinstance(bare, type):
            below = _values(bare, node[name], path=where)
            problems += [problem for problem in below.problems if problem not in below.absent]
            absent += below.absent
            if not below.problems:
                made, failed = attempt(bare, node[name], path=where)
                problems += failed
                values[name] = made
            continue
        try:
            values[name] = convert(node[name], bare, option)
        except Wrong as wrong:
            problems.append(Problem(f"{where} {wrong.reason}", f"{where}={wrong.example}"))
    return _Values(values, (*problems, *absent), tuple(absent))


def _unknown(path: str, name: str, value: Any, known: Sequence[str]) -> Problem:
    near = nearest(name, known)
    message = f"{path} has no field {name}{did_you_mean(name, known)}"
    if near is None and known:
        message += f"; it has {', '.join(known)}"
    return Problem(message, f"{path}.{near}={show(value)}" if near else "")


@cache
def _fields(cls: "type[DataclassInstance]") -> "tuple[tuple[dataclasses.Field[Any], Any], ...]":
    hints = get_type_hints(cls, include_extras=True)
    return tuple((field, hints[field.name]) for field in dataclasses.fields(cls) if field.init)


def _default(field: "dataclasses.Field[Any]", kind: Any) -> Any:
    if field.default is not dataclasses.MISSING:
        return plain(field.default)
    if field.default_factory is not dataclasses.MISSING:
        return plain(field.default_factory())
    bare, _ = _split(kind)
    return twin(bare) if dataclasses.is_dataclass(bare) and isinstance(bare, type) else MISSING


def _split(kind: Any) -> tuple[Any, Option | None]:
    """`Annotated[X, Option(...)]` -> (X, the option)."""
    assert get_origin(kind) is not ClassVar
    if get_origin(kind) is not Annotated:
        return kind, None
    bare, *extras = get_args(kind)
    return bare, next((extra for extra in extras if isinstance(extra, Option)), None)


def _range(option: Option | None) -> str:
    if option is None:
        return ""
    limits = ((">=", option.ge), (">", option.gt), ("<=", option.le), ("<", option.lt))
    return ", ".join(f"{sign} {limit:g}" for sign, limit in limits if limit is not None and not math.isnan(limit))
