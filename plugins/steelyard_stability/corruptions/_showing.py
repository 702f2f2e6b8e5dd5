# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""What is shown of the answers beside their numbers: the examples whose answer changes most easily."""

from collections.abc import Iterator, Sequence

import torch

from steelyard.measurement import Artefact
from steelyard.runs import Run
from steelyard_stability.corruptions._asking import Answers, Point
from steelyard_stability.corruptions._families import Family
from steelyard_stability.corruptions._pairs import Pair


def examples(run: Run, family: Family, answers: Answers, *, split: str, count: int) -> Iterator[Artefact]:
    """The examples whose answer changes under most points, each under the mildest of them."""
    pairs = [_pair(run, family, answers, number, split=split) for number in fragile(answers, count=count)]
    if pairs:
        yield from family.show(pairs, split=split)


def fragile(answers: Answers, *, count: int) -> list[int]:
    """Places of the examples whose answer changes most often, those first that change most; never is left out."""
    changed = torch.stack([~answers.same[point] for point in answers.points]).sum(dim=0)
    order = changed.argsort(descending=True, stable=True)[:count].tolist()
    return [number for number in order if int(changed[number])]


def mildest(answers: Answers, number: int, *, points: Sequence[Point]) -> Point:
    """The lowest severity at which the answer changes; the kind changes with the example, so that many are shown."""
    changed = [point for point in points if not bool(answers.same[point][number])]
    least = min(severity for _, severity in changed)
    mild = [point for point in changed if point[1] == least]
    return mild[number % len(mild)]


@torch.no_grad()
def _pair(run: Run, family: Family, answers: Answers, number: int, *, split: str) -> Pair:
    adapter, scoring = run.adapter, run.adapter.scoring
    kind, severity = mildest(answers, number, points=answers.points)
    clean = run.batch(split, [number])
    damaged = family.corrupted(clean, kind=kind, severity=severity, numbers=[number]).batch
    targets = adapter.targets(clean)
    before, after = (
        adapter.told(scoring.said(scoring.decisions(adapter.outputs(run.task, batch), targets)[0]))
        for batch in (clean, damaged)
    )
    return Pair(
        number=number,
        kind=kind,
        severity=severity,
        clean=clean,
        damaged=damaged,
        before=before,
        after=after,
        wanted=adapter.told(scoring.wanted(targets[0])),
    )
