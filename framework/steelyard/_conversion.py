"""Converting one plain value to the type of a field. Underscored: what `typing` hands back is Any."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import dataclasses
import math
import types
from collections.abc import Mapping
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from steelyard.option import Option

MISSING = "???"
"""How OmegaConf writes a value that the user has to give."""


class Wrong(ValueError):
    """The value does not fit.

    Args:
        reason: What is wrong, to stand behind the path: "must be an int, got 'x'".
        example: A value that would do.
    """

    def __init__(self, reason: str, example: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.example = example


def convert(value: Any, kind: Any, option: Option | None = None) -> Any:
    """The value as `kind` says, within the range of `option`.

    Raises:
        Wrong: If it does not fit.
    """
    if get_origin(kind) is Annotated:
        kind, *extras = get_args(kind)
        option = next((extra for extra in extras if isinstance(extra, Option)), option)
    made = _convert(value, kind, option)
    if option is not None and isinstance(made, int | float) and not isinstance(made, bool):
        complaint = option.complaint(made)
        if complaint:
            raise Wrong(complaint, _inside(option, kind))
    return made


def show_type(kind: Any) -> str:
    """A type as one reads it: `int | None`, `mean | sum`, `float, ...` in brackets for tuples."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return show_type(arguments[0])
    if origin is Literal:
        return " | ".join(str(choice) for choice in arguments)
    if origin in (Union, types.UnionType):
        return " | ".join(show_type(member) for member in arguments)
    if origin is tuple:
        inner = [show_type(member) for member in arguments if member is not Ellipsis]
        return f"[{', '.join(inner)}{', ...' if Ellipsis in arguments else ''}]"
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return f"{{{show_type(arguments[0])}: {show_type(arguments[1])}}}"
    if kind is types.NoneType:
        return "null"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return " | ".join(str(member.value) for member in kind)
    if kind is Path:
        return "path"
    return getattr(kind, "__name__", str(kind))


def _convert(value: Any, kind: Any, option: Option | None) -> Any:
    origin = get_origin(kind)
    if origin is Literal:
        return _choice(value, {choice: choice for choice in get_args(kind)})
    if origin in (Union, types.UnionType):
        return _member(value, get_args(kind), option)
    if origin is tuple:
        return _tuple(value, kind, option)
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping(value, kind, option)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _choice(value, {member.value: member for member in kind})
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _nested(value, kind)
    return _scalar(value, kind)


def _scalar(value: Any, kind: Any) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is Any or (kind is types.NoneType and value is None) or (kind is bool and isinstance(value, bool)):
        return value
    if kind is int and number and (isinstance(value, int) or value.is_integer()):
        return int(value)
    if kind is float and number and not math.isnan(value):
        return float(value)
    if kind in (str, Path) and isinstance(value, str):
        return kind(value)
    if kind is str and number:  # the command line reads `name=5` as a number
        return str(value)
    raise Wrong(f"must be {_article(show_type(kind))}, got {value!r}", _example(kind))


def _choice(value: Any, choices: Mapping[Any, Any]) -> Any:
    for choice, made in choices.items():
        if choice == value and type(choice) is type(value):
            return made
    names = [str(choice) for choice in choices]
    near = get_close_matches(str(value), names, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise Wrong(f"must be one of {', '.join(names)}, got {value!r}{hint}", near[0] if near else names[0])


def _member(value: Any, members: tuple[Any, ...], option: Option | None) -> Any:
    for exact in (True, False):
        for member in members:
            if exact and member in (bool, int, float, str) and type(value) is not member:
                continue
            try:
                return _convert(value, member, option)
            except Wrong:
                continue
    shown = " or ".join(show_type(member) for member in members)
    failures = [member for member in members if member is not types.NoneType]
    if len(failures) == 1:
        try:
            return _convert(value, failures[0], option)
        except Wrong as wrong:
            raise Wrong(f"{wrong.reason} (null is allowed)", wrong.example) from None
    raise Wrong(f"must be {shown}, got {value!r}", _example(members[0]))


def _tuple(value: Any, kind: Any, option: Option | None) -> tuple[Any, ...]:
    arguments = get_args(kind)
    if not isinstance(value, list | tuple):
        raise Wrong(f"must be a list {show_type(kind)}, got {value!r}", f"[{value}]")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        members = (arguments[0],) * len(value)
    elif len(arguments) == len(value):
        members = arguments
    else:
        raise Wrong(f"must be a list of {len(arguments)}, got {len(value)}: {value!r}", _example(kind))
    return tuple(
        _item(item, member, option, f"[{at}]") for at, (item, member) in enumerate(zip(value, members, strict=True))
    )


def _mapping(value: Any, kind: Any, option: Option | None) -> dict[Any, Any]:
    key_kind, item_kind = get_args(kind)
    if not isinstance(value, Mapping):
        raise Wrong(f"must be {show_type(kind)}, got {value!r}", "{key:value}")
    return {
        _item(key, key_kind, None, f"[{key}]"): _item(item, item_kind, option, f"[{key}]")
        for key, item in value.items()
    }


def _nested(value: Any, kind: Any) -> Any:
    from steelyard.schema import attempt

    if not isinstance(value, Mapping):
        raise Wrong(f"must hold the settings of {kind.__name__}, got {value!r}", "{}")
    made, problems = attempt(kind, value, path="")
    if problems:
        raise Wrong("; ".join(problem.message.lstrip(".") for problem in problems), "...")
    return made


def _item(value: Any, kind: Any, option: Option | None, where: str) -> Any:
    try:
        return convert(value, kind, option)
    except Wrong as wrong:
        raise Wrong(
            f"{where} {wrong.reason}" if not wrong.reason.startswith("[") else f"{where}{wrong.reason}", "[...]"
        ) from None


def _inside(option: Option, kind: Any) -> str:
    """A value of the kind within the range."""
    step: float = 1 if kind is int else 0.1
    limits = [limit for limit in (option.ge, option.gt, option.le, option.lt) if limit is not None]
    for limit in limits:
        for candidate in (limit, limit + step, limit - step):
            if option.complaint(candidate) is None:
                return f"{candidate:g}"
    return "..."


def _example(kind: Any) -> str:
    if get_origin(kind) is tuple:
        return f"[{','.join(_example(member) for member in get_args(kind) if member is not Ellipsis)}]"
    return {bool: "true", int: "1", float: "0.1", Path: "folder/file"}.get(kind, "...")


def _article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
