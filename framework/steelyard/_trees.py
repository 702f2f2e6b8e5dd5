"""Trees of plain values: what a config holds."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# A config is a tree of anything.

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def branch(value: Any) -> dict[str, Any] | None:
    """A mapping with its keys as text; None for everything else."""
    return {str(key): item for key, item in value.items()} if isinstance(value, Mapping) else None


def below(tree: Any, path: str) -> Any:
    """What stands at a dotted path; None where there is nothing."""
    for step in path.split(".") if path else ():
        tree = (branch(tree) or {}).get(step)
    return tree


def resolved(node: Any) -> Any:
    """The plain values of a node, interpolations followed."""
    from omegaconf import DictConfig, OmegaConf

    return OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else node


def settings(declaration: "DataclassInstance") -> dict[str, Any]:
    """The fields of a declaration in plain values: what the config and the scorecard hold."""
    return {field.name: plain(getattr(declaration, field.name)) for field in dataclasses.fields(declaration)}


def plain(value: Any) -> Any:
    """Paths and enums as text, tuples as lists, nested declarations as dicts."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return settings(value)
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return getattr(value, "value", value)


def show(value: Any) -> str:
    """A plain value as one would type it on the command line."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}" if float(f"{value:g}") == value else repr(value)
        case Mapping():
            return "{" + ",".join(f"{key}:{show(item)}" for key, item in value.items()) + "}"
        case list() | tuple():
            return "[" + ",".join(show(item) for item in value) + "]"
        case "":
            return "''"
        case _:
            return str(value)
