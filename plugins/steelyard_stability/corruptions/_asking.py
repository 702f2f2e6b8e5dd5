"""Asks the model about damaged examples."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from steelyard.adapters import IGNORED
from steelyard.runs import Run
from steelyard_stability.corruptions._families import Family

Point = tuple[str, int]
"""A kind and a severity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What became of the decisions on the examples that were looked at.

    Attributes:
        right: How right the clean decision is, from 0 to 1 (N,).
        same: Point -> whether the decision stayed (N,).
        still: Point -> how right it is then (N,).
        touched: Point -> whether the input changed at all (N,).
        constant: The one decision that the model makes for every clean input, or "".
        moved: Why asking again changed an output, or "".
        whole: False where the deadline came first.
    """

    right: Tensor
    same: dict[Point, Tensor]
    still: dict[Point, Tensor]
    touched: dict[Point, Tensor]
    constant: str
    moved: str
    whole: bool

    @property
    def points(self) -> list[Point]:
        """Those that changed any input."""
        return [point for point, touched in self.touched.items() if bool(touched.any())]

    @property
    def idle(self) -> list[str]:
        """Kinds that found nothing to change in any example."""
        active = {kind for kind, _ in self.points}
        return [kind for kind in dict.fromkeys(kind for kind, _ in self.touched) if kind not in active]


@dataclass
class _Columns:
    same: list[Tensor] = field(default_factory=list[Tensor])
    still: list[Tensor] = field(default_factory=list[Tensor])
    touched: list[Tensor] = field(default_factory=list[Tensor])


@torch.no_grad()
def ask(run: Run, family: Family, *, split: str, points: Sequence[Point], examples: int) -> Answers:
    """The model's decisions on the first examples of a split, clean and at every point."""
    adapter, scoring = run.adapter, run.adapter.scoring
    columns = {point: _Columns() for point in points}
    right: list[Tensor] = []
    decided: dict[tuple[int, ...], str] = {}
    moved, first, whole = "", 0, True
    for raw in run.loader(split):
        if run.deadline is not None and first and time.monotonic() > run.deadline:
            whole = False
            break
        batch = first_of(run, run.to_device(raw), examples - first)
        targets, outputs = adapter.targets(batch), adapter.outputs(run.task, batch)
        numbers = range(first, first + len(targets))
        clean = scoring.decisions(outputs, targets)
        moved = moved or _moved(run, family, batch, outputs, kind=points[0][0], numbers=numbers)
        for (kind, severity), column in columns.items():
            made = family.corrupted(batch, kind=kind, severity=severity, numbers=numbers)
            decisions = scoring.decisions(adapter.outputs(run.task, made.batch), targets)
            column.same.append(scoring.same(decisions, clean).cpu())
            column.still.append(scoring.marks(decisions, targets).cpu().double())
            column.touched.append(made.touched)
        right.append(scoring.marks(clean, targets).cpu().double())
        if len(decided) < 2:
            for row in clean.cpu():
                said = tuple(scoring.said(row))
                # What cannot be told in words can still differ.
                decided[said or tuple(map(int, row[row != IGNORED]))] = adapter.told(said)
        first += len(targets)
        if first >= examples:
            break
    return Answers(
        right=torch.cat(right),
        same={point: torch.cat(column.same) for point, column in columns.items()},
        still={point: torch.cat(column.still) for point, column in columns.items()},
        touched={point: torch.cat(column.touched) for point, column in columns.items()},
        constant=next(iter(decided.values())) if len(decided) == 1 and first > 1 else "",
        moved=moved,
        whole=whole,
    )


def first_of(run: Run, batch: Any, most: int) -> Any:
    """The first examples of a batch."""
    if run.adapter.size(batch) <= most:
        return batch
    return run.adapter.take(batch, torch.arange(most, device=run.device))


def _moved(run: Run, family: Family, batch: Any, outputs: Any, *, kind: str, numbers: Sequence[int]) -> str:
    again = family.corrupted(batch, kind=kind, severity=0, numbers=numbers)
    if torch.equal(run.adapter.outputs(run.task, again.batch), outputs):
        return ""
    if bool(again.touched.any()):
        return f"inputs lie outside the raw range {run.adapter.bounds}"
    return "the same input gave another output: the model is not deterministic"
