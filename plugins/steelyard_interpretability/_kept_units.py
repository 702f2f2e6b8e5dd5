"""Explanations of one run, kept for those of other runs: what each part of each example is worth."""

import csv
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steelyard.scorecard import Section
from steelyard.stored import StoredRun

KEY, TABLE, LAYOUT = "interpretability.attribution", "parts", "layout"
SIDES = ("height", "width")
COLUMNS = ("example", "decision", "method", "part", "worth")
WRITTEN = 3
"""Numbers of a decision that are written out; more of them are a hash, since only equality counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What one run says of N examples.

    Attributes:
        examples: Places in the split (N,).
        decisions: What is explained (N,).
        worth: Method -> (N, K), NaN at parts that an example does not have.
        data: Fingerprint of the data, "" where nobody took one.
        layout: Height and width of the grid that the parts form row by row; None where they form none.
    """

    examples: tuple[int, ...]
    decisions: NDArray[np.str_]
    worth: Mapping[str, NDArray[np.float64]]
    data: str
    layout: tuple[int, int] | None = None

    def pairs_with(self, other: "Parts") -> bool:
        """Whether both explained the same examples."""
        return self.examples == other.examples and self.data == other.data


def word(numbers: Sequence[int]) -> str:
    """A decision to be compared."""
    told = "-".join(map(str, numbers))
    return told if len(numbers) <= WRITTEN else "h" + hashlib.blake2b(told.encode(), digest_size=8).hexdigest()


def read(run: StoredRun) -> Parts | None:
    """The explanations that a run kept, or None.

    Raises:
        ValueError: If the file holds something else.
    """
    section = next((part for part in run.scorecard.sections if part.key == KEY), None)
    paths = [item.path for item in section.artefacts if item.path.endswith(f"/{TABLE}.csv")] if section else []
    if not paths:
        return None
    with (run.folder / paths[0]).open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    if tuple(head) != COLUMNS or not rows:
        raise ValueError(f"{run.folder / paths[0]} holds no explanations")
    decisions = {int(example): decision for example, decision, *_ in rows}
    places = {example: place for place, example in enumerate(decisions)}
    width = 1 + max(int(part) for *_, part, _ in rows)
    worth: dict[str, NDArray[np.float64]] = {}
    for example, _, method, part, value in rows:
        table = worth.setdefault(method, np.full((len(places), width), np.nan))
        table[places[int(example)], int(part)] = float(value)
    return Parts(
        examples=tuple(decisions),
        decisions=np.array([*decisions.values()]),
        worth=worth,
        data=str(run.provenance.get("data_fingerprint") or ""),
        layout=_layout(run, section),
    )


def _layout(run: StoredRun, section: Section | None) -> tuple[int, int] | None:
    paths = [item.path for item in section.artefacts if item.path.endswith(f"/{LAYOUT}.csv")] if section else []
    if not paths:
        return None
    with (run.folder / paths[0]).open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    return (int(rows[0][0]), int(rows[0][1])) if tuple(head) == SIDES and rows else None
