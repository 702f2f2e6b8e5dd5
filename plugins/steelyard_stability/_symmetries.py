"""What the user says must not matter: changes of the inputs, and texts that mean the same."""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor

from steelyard.adapters import Retelling
from steelyard.draft import Draft
from steelyard.problem import Problem, refuse
from steelyard_stability.consistency import Consistency

Symmetry = Callable[[Tensor], Tensor]
"""Inputs (B, ...) in raw units -> other inputs of the same shape."""


def _quarter(inputs: Tensor) -> Tensor:
    return torch.rot90(inputs, dims=(-2, -1))


KNOWN: Mapping[str, Symmetry] = MappingProxyType(
    {
        "mirror": lambda inputs: inputs.flip(-1),
        "upside_down": lambda inputs: inputs.flip(-2),
        "half_turn": lambda inputs: inputs.flip(-2, -1),
        "quarter_turn": _quarter,
        "transpose": lambda inputs: inputs.transpose(-2, -1),
        "negate": lambda inputs: -inputs,
    }
)


def problems(plugin: Consistency, draft: Draft) -> Iterator[Problem]:
    """Names that are nobody's, and files that cannot be read or asked about."""
    for name in plugin.symmetries:
        try:
            symmetry(name)
        except (ImportError, AttributeError, ValueError) as error:
            yield Problem(
                f"{name} is no symmetry: {error}; known are {', '.join(KNOWN)}, or a path such as mymodule.shifted",
                fix="stability.consistency.symmetries=[mirror]",
            )
    if plugin.paraphrases is None:
        return
    try:
        pairs(plugin.paraphrases)
    except (OSError, ValueError) as error:
        yield Problem(f"paraphrases cannot be read: {error}", fix="stability.consistency.paraphrases=FILE.csv")
    if not isinstance(draft.adapter, Retelling):
        yield Problem(
            "the data holds no texts that could be told in other words", fix="stability.consistency.paraphrases=null"
        )


def symmetry(name: str) -> Symmetry:
    """The symmetry of that name.

    Raises:
        ValueError: If it is neither known nor a path.
        ImportError: If there is no such module.
        AttributeError: If the module has no such function.
    """
    if name in KNOWN:
        return KNOWN[name]
    module, _, function = name.rpartition(".")
    if not module:
        raise ValueError("it has no module")
    found: Symmetry = getattr(import_module(module), function)
    if not callable(found):
        raise ValueError("it cannot be called")
    return found


def moved(name: str, inputs: Tensor) -> Tensor:
    """The inputs under a symmetry (B, ...).

    Raises:
        Refused: If it gives another shape.
    """
    found = symmetry(name)(inputs)
    if found.shape != inputs.shape:
        raise refuse(
            f"{name} makes {tuple(found.shape)} of inputs of the shape {tuple(inputs.shape)}",
            fix="stability.consistency.symmetries=[mirror]",
        )
    return found


def pairs(path: Path) -> list[tuple[str, str]]:
    """The two texts of each row below the head line.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If a row holds no two texts, or there is none.
    """
    with path.expanduser().open(encoding="utf-8-sig", newline="") as file:
        _, *rows = [*csv.reader(file)] or [[]]
    for place, row in enumerate(rows, start=2):
        if len(row) != 2 or not all(text.strip() for text in row):
            raise ValueError(f"row {place} of {path} holds {len(row)} columns, and should hold two texts")
    if not rows:
        raise ValueError(f"{path} holds no row below its head line")
    return [(one, other) for one, other in rows]


def columns(found: Sequence[tuple[str, str]]) -> tuple[list[str], list[str]]:
    """First and second texts."""
    return [one for one, _ in found], [other for _, other in found]
