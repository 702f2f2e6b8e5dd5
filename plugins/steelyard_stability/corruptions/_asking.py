"""Asks the model about damaged examples."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from steelyard.adapters import IGNORED
from steelyard.runs import Run
from steelyard_stability.corruptions._families import Family

WINDOW, FEW = 64, 8
"""Examples in memory at once, and how few are begun with to learn the pace."""
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
        wanted: Examples that there should have been.
    """

    right: Tensor
    same: dict[Point, Tensor]
    still: dict[Point, Tensor]
    touched: dict[Point, Tensor]
    constant: str
    moved: str
    wanted: int

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
def ask(
    run: Run, family: Family, *, split: str, points: Sequence[Point], examples: int, until: float | None
) -> Answers:
    """The model's decisions on the first examples of a split, clean and at every point.

    Args:
        run: The run.
        family: What can happen.
        split: Of the examples.
        points: What happens to each of them.
        examples: How many, at most.
        until: `time.monotonic()` at which it should end, or None; a first few are asked about in any case.
    """
    adapter, scoring = run.adapter, run.adapter.scoring
    columns = {point: _Columns() for point in points}
    right: list[Tensor] = []
    decided: dict[tuple[int, ...], str] = {}
    loader = run.loader(split)
    size = min(WINDOW, loader.batch_size or WINDOW)
    moved, wanted = "", min(examples, _length(loader))
    for numbers in _windows(wanted, until):
        batch = run.batch(split, numbers)
        targets = adapter.targets(batch)
        outputs = _outputs(run, batch, size)
        clean = torch.cat([scoring.decisions(out, targets[rows]) for rows, out in outputs])
        marks = scoring.marks(clean, targets).cpu().double()
        moved = moved or _moved(run, family, batch, outputs, kind=points[0][0], numbers=numbers, size=size)
        for (kind, severity), column in columns.items():
            damage = family.damage(batch, kind=kind, severity=severity, numbers=numbers, size=size)
            # Who is as before is answered as before, if the control says so.
            same, still = torch.ones(len(numbers), dtype=torch.bool), marks.clone()
            for piece in damage.pieces:
                rows = piece.rows.to(targets.device)
                decisions = scoring.decisions(adapter.outputs(run.task, piece.batch), targets[rows])
                same[piece.rows] = scoring.same(decisions, clean[rows]).cpu()
                still[piece.rows] = scoring.marks(decisions, targets[rows]).cpu().double()
            column.same.append(same)
            column.still.append(still)
            column.touched.append(damage.touched)
        right.append(marks)
        if len(decided) < 2:
            for row in clean.cpu():
                said = tuple(scoring.said(row))
                # What cannot be told in words can still differ.
                decided[said or tuple(map(int, row[row != IGNORED]))] = adapter.told(said)
    count = sum(map(len, right))
    return Answers(
        right=torch.cat(right),
        same={point: torch.cat(column.same) for point, column in columns.items()},
        still={point: torch.cat(column.still) for point, column in columns.items()},
        touched={point: torch.cat(column.touched) for point, column in columns.items()},
        constant=next(iter(decided.values())) if len(decided) == 1 and count > 1 else "",
        moved=moved,
        wanted=wanted,
    )


def _length(loader: DataLoader[Any]) -> int:
    dataset: Any = loader.dataset
    return len(dataset)


def _windows(wanted: int, until: float | None) -> Iterator[range]:
    """Places of the examples, some at a time: a few to begin with, later as many as time allows by their pace."""
    first, size, start = 0, FEW, time.monotonic()
    while first < wanted:
        yield range(first, min(first + size, wanted))
        first, size = min(first + size, wanted), WINDOW
        if until is not None:
            now = time.monotonic()
            size = min(WINDOW, int((until - now) * first / max(now - start, 1e-9)))
            if size < min(FEW, wanted - first):
                return


def _outputs(run: Run, batch: Any, size: int) -> list[tuple[Tensor, Any]]:
    """What the model gives for a batch, at most `size` rows at a time: which rows, and the raw output."""
    every = torch.arange(run.adapter.size(batch), device=run.device)
    parts = [every[first : first + size] for first in range(0, len(every), size)]
    if len(parts) == 1:
        return [(parts[0], run.adapter.outputs(run.task, batch))]
    return [(rows, run.adapter.outputs(run.task, run.adapter.take(batch, rows))) for rows in parts]


def first_of(run: Run, batch: Any, most: int) -> Any:
    """The first examples of a batch."""
    if run.adapter.size(batch) <= most:
        return batch
    return run.adapter.take(batch, torch.arange(most, device=run.device))


def _moved(
    run: Run,
    family: Family,
    batch: Any,
    outputs: Sequence[tuple[Tensor, Any]],
    *,
    kind: str,
    numbers: Sequence[int],
    size: int,
) -> str:
    again = family.corrupted(batch, kind=kind, severity=0, numbers=numbers)
    answers = _outputs(run, again.batch, size)
    if all(torch.equal(one, other) for (_, one), (_, other) in zip(outputs, answers, strict=True)):
        return ""
    if bool(again.touched.any()):
        return f"inputs lie outside the raw range {run.adapter.bounds}"
    return "the same input gave another output: the model is not deterministic"
