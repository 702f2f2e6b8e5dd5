"""What is said of the answers, in numbers: those that stayed first, those that are right second."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from steelyard.measurement import Better, Measurement
from steelyard.statistics import mean_interval, proportion, share_interval
from steelyard_stability._accuracy import accuracy_rows
from steelyard_stability.corruptions._asking import Answers, Point

MEANINGS = {
    "unchanged_mean": "share of the answers that stay as they were when the input is damaged, over all kinds of damage",
    "unchanged_worst": "share of the answers that stay under the kind of damage that the model bears worst",
    "unchanged_always": "share of the examples whose answer stays under every kind of damage at every severity",
    "unchanged": "share of the answers that stay under this kind of damage at this severity",
    "accuracy_mean": "share of right answers when the input is damaged, over all kinds of damage",
    "accuracy_worst": "share of right answers under the kind of damage that the model bears worst",
    "accuracy_drop_mean": "accuracy that the model loses when the input is damaged, over all kinds of damage",
    "accuracy": "share of right answers under this kind of damage at this severity",
    "accuracy_drop": "accuracy that the model loses under this kind of damage at this severity",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Worst:
    """The kind with the lowest mean.

    Attributes:
        kind: Its name.
        shares: Its mean over severities, example by example (N,).
    """

    kind: str
    shares: Tensor


def by_kind(points: Sequence[Point], values: dict[Point, Tensor]) -> dict[str, Tensor]:
    """Means over severities, example by example: kind -> (N,)."""
    kinds = dict.fromkeys(kind for kind, _ in points)
    return {
        kind: torch.stack([values[point].double() for point in points if point[0] == kind]).mean(0) for kind in kinds
    }


def worst(shares: dict[str, Tensor]) -> Worst:
    """The kind whose mean over all examples is lowest."""
    kind = min(shares, key=lambda kind: float(shares[kind].mean()))
    return Worst(kind=kind, shares=shares[kind])


def rows(answers: Answers, *, split: str, note: str, cut: str = "") -> Iterator[Measurement]:
    """The summary, then the curves.

    Args:
        answers: What was answered.
        split: Of the examples.
        note: How they were damaged: said once in the summary, and of each curve.
        cut: That there was no time for more of them, or "".
    """
    points = answers.points
    same, still = by_kind(points, answers.same), by_kind(points, answers.still)
    idle = f"; nothing to change was found by {', '.join(answers.idle)}" if answers.idle else ""
    over = f"mean over {len(same)} kinds and {len({severity for _, severity in points})} severities{idle}{cut}"

    yield _share("unchanged_mean", torch.stack([*same.values()]).mean(0), split=split, note=f"{over}; {note}")
    yield _worst("unchanged_worst", same, split=split, cut=cut)
    always = torch.stack([answers.same[point] for point in points]).all(dim=0)
    yield proportion(
        "unchanged_always",
        int(always.sum()),
        len(always),
        better=Better.HIGHER,
        split=split,
        note=f"all of {len(points)} damaged copies{idle}{cut}",
    )
    mean = torch.stack([*still.values()]).mean(0)
    yield _share("accuracy_mean", mean, split=split, note=over)
    yield _worst("accuracy_worst", still, split=split, cut=cut)
    drop, interval = mean_interval(answers.right - mean, low=-1, high=1)
    yield Measurement(
        name="accuracy_drop_mean",
        value=drop,
        interval=interval,
        better=Better.LOWER,
        count=len(mean),
        split=split,
        note=f"paired with the clean answer; {over}",
    )
    for point in points:
        yield from _at(answers, point, split=split, note=f"{note}{cut}")


def _at(answers: Answers, point: Point, *, split: str, note: str) -> Iterator[Measurement]:
    kind, severity = point
    at: dict[str, str | float] = {"kind": kind, "severity": severity}
    same, touched = answers.same[point], answers.touched[point]
    few = "" if bool(touched.all()) else f"it changed the input of {int(touched.sum())} of {len(touched)}; "
    yield proportion(
        "unchanged", int(same.sum()), len(same), better=Better.HIGHER, split=split, at=at, note=f"{few}{note}"
    )
    yield from accuracy_rows(answers.right, answers.still[point], at=at, split=split, note=f"{few}{note}")


def _share(name: str, shares: Tensor, *, split: str, note: str, level: float = 0.95) -> Measurement:
    numbers = shares.double().numpy()
    value, interval = float(numbers.mean()), share_interval(numbers, level=level)
    return Measurement(
        name=name, value=value, interval=interval, better=Better.HIGHER, count=len(shares), split=split, note=note
    )


def _worst(name: str, shares: dict[str, Tensor], *, split: str, cut: str) -> Measurement:
    found, count = worst(shares), len(shares)
    # The worst of many is also the unluckiest, so each gets its part of the error probability (Bonferroni).
    words = f"{found.kind}, mean over its severities; the interval holds for all {count} kinds at once{cut}"
    return _share(name, found.shares, split=split, note=words, level=1 - 0.05 / count)
