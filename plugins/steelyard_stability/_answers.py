"""The answers of finished runs, read from their folders without torch."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steelyard.stored import StoredRun

KEY, TABLE = "stability.seeds", "answers"
COLUMNS = ("wanted", "said", "mark")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What one run decided on N test examples, in the order of the split.

    Attributes:
        wanted: What was right, as words that only equality is asked of (N,).
        said: What it decided (N,).
        marks: How right that was, from 0 to 1 (N,).
        data: Fingerprint of the data, "" where nobody took one.
    """

    wanted: tuple[str, ...]
    said: NDArray[np.str_]
    marks: NDArray[np.float64]
    data: str

    def pairs_with(self, other: "Answers") -> bool:
        """Whether both were asked about the same examples."""
        return self.wanted == other.wanted and self.data == other.data


def read(run: StoredRun) -> Answers | None:
    """The answers that a run kept, or None.

    Raises:
        ValueError: If the file holds something else.
    """
    section = next((part for part in run.scorecard.sections if part.key == KEY), None)
    path = (
        next((item.path for item in section.artefacts if item.path.endswith(f"/{TABLE}.csv")), None)
        if section
        else None
    )
    if path is None:
        return None
    with (run.folder / path).open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    if tuple(head) != COLUMNS or not rows:
        raise ValueError(f"{run.folder / path} holds no answers")
    wanted, said, marks = zip(*rows, strict=True)
    return Answers(
        wanted=tuple(wanted),
        said=np.array(said),
        marks=np.array(marks, dtype=np.float64),
        data=str(run.provenance.get("data_fingerprint") or ""),
    )


def disagreement(runs: Sequence[Answers]) -> NDArray[np.float64]:
    """On which share of the N examples each of R runs differs from each other one: (R, R), 0 on the diagonal."""
    said = np.stack([run.said for run in runs])
    return np.stack([(said != row).mean(axis=1) for row in said])


def restless(runs: Sequence[Answers]) -> NDArray[np.float64]:
    """For each example the share of the pairs of runs that differ on it (N,); its mean is the mean churn of a pair."""
    said = np.stack([run.said for run in runs])
    count = len(runs)
    apart = sum((said[first + 1 :] != said[first]).sum(axis=0) for first in range(count - 1))
    return np.asarray(apart, dtype=np.float64) / (count * (count - 1) / 2)
