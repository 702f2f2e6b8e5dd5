"""The numbers of `interpretability.concepts`."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from steelyard.measurement import Better, Measurement, Status
from steelyard.statistics import mean_interval
from steelyard_interpretability._samples import SPLIT
from steelyard_interpretability.measures.concept import Weighed

LEVEL = 0.05
NEARLY_ALL = 0.975
MEANINGS = {
    "accuracy": "how often examples of the concept are told from random ones by what the layer gives, on examples that "
    "were held out; 0.5 is guessing",
    "random_accuracy": "the same of random examples told from other random examples",
    "score": "share of the explained examples on which more of the concept would raise the score of the decision; "
    "0.5 is what a direction without meaning gets",
    "sensitivity": "how much of what the decision is sensitive to lies in the direction of the concept; "
    "1 is all, -1 all against it, 0 nothing",
    "random_sensitivity": "the same of random examples in place of a concept, on average",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One concept.

    Attributes:
        size: Examples in each set.
        ours: The concept.
        randoms: Random concepts.
        groups: Places of the explained examples of each decision.
    """

    size: int
    ours: Weighed
    randoms: tuple[Weighed, ...]
    groups: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """Everything.

    Attributes:
        layer: Its name.
        groups: What is decided.
        counts: Explained examples of each decision.
        lines: By concept.
        refused: Concept -> why there is nothing of it.
    """

    layer: str
    groups: tuple[str, ...]
    counts: tuple[int, ...]
    lines: dict[str, Line] = field(default_factory=dict[str, Line])
    refused: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A concept and a decision.

    Attributes:
        score: TCAV score.
        interval: Of it, over fits and examples.
        sensitivity: Mean cosine.
        spread: Interval of it, over fits and examples.
        random: Mean of the random concepts' sensitivities.
        band: Between which 95 % of the random concepts' lie, if they are normal.
        p: Two-sided, of the sensitivity against them, not yet corrected.
    """

    score: float
    interval: tuple[float, float]
    sensitivity: float
    spread: tuple[float, float]
    random: float
    band: tuple[float, float]
    p: float


def cell(line: Line, group: int) -> Cell:
    """One concept's numbers for one decision."""
    from scipy import stats

    student: Any = stats.t
    places = line.groups[group]
    score, interval = _crossed(line.ours.rises[:, places], low=0)
    sensitivity, spread = _crossed(line.ours.cosines[:, places], low=-1)
    randoms = torch.stack([one.cosines[:, places].mean() for one in line.randoms])
    count, middle = len(randoms), float(randoms.mean())
    # The error of a further random concept, with the mean not known either.
    error = float(randoms.std(correction=1)) * math.sqrt(1 + 1 / count)
    reach = float(student.ppf(1 - LEVEL / 2, count - 1)) * error
    far = abs(sensitivity - middle)
    return Cell(
        score=score,
        interval=interval,
        sensitivity=sensitivity,
        spread=spread,
        random=middle,
        band=(max(-1.0, middle - reach), min(1.0, middle + reach)),
        p=float(2 * student.sf(far / error, count - 1)) if error > 0 else float(far == 0),
    )


def _crossed(values: Tensor, *, low: float) -> tuple[float, tuple[float, float]]:
    """The mean over fits and examples (T, N) of numbers from `low` to 1, and an interval for the chance of both.

    Fits that agree add nothing; examples that do are still few (see `mean_interval`).
    """
    mean, examples = mean_interval(values.mean(dim=0), low=low, high=1)
    _, fits = mean_interval(values.mean(dim=1))
    assert examples is not None
    of_fits = 0.0 if fits is None else (fits[1] - fits[0]) / 2
    below, above = (math.hypot(end - mean, of_fits) for end in examples)
    return mean, (max(low, mean - below), min(1.0, mean + above))


def holm(ps: dict[tuple[str, int], float]) -> dict[tuple[str, int], float]:
    """Corrected for as many tests as there are (Holm 1979)."""
    order = sorted(ps, key=lambda key: ps[key])
    found: dict[tuple[str, int], float] = {}
    least = 0.0
    for place, key in enumerate(order):
        least = max(least, min(1.0, ps[key] * (len(ps) - place)))
        found[key] = least
    return found


def separates(line: Line, *, least: float) -> str:
    """Why the layer does not know the concept; "" where it does."""
    accuracy = float(line.ours.accuracies.mean())
    randoms = torch.stack([one.accuracies.mean() for one in line.randoms])
    bar = float(randoms.quantile(NEARLY_ALL))
    if accuracy < least:
        return f"the layer does not tell it from random examples: held-out accuracy {accuracy:.2f}, below {least:g}"
    if accuracy <= bar:
        return f"the layer tells it from random examples no better than these from others ({accuracy:.2f}, {bar:.2f})"
    return ""


def told(found: Scored, *, least: float) -> Iterator[Measurement]:
    """Every number with what is against it."""
    cells = {
        (name, group): cell(line, group) for name, line in found.lines.items() for group in range(len(found.groups))
    }
    corrected = holm({key: one.p for key, one in cells.items()})
    for name, reason in found.refused.items():
        yield Measurement(
            name="score",
            status=Status.SKIPPED,
            at={"concept": name},
            note=reason,
            meaning=MEANINGS["score"],
            split=SPLIT,
        )
    for name, line in found.lines.items():
        note = f"layer {found.layer}; sets of {line.size}; {len(line.ours.accuracies)} fits, a third held out"
        mean, ends = mean_interval(line.ours.accuracies, low=0, high=1)
        yield _row("accuracy", mean, ends, line.size, {"concept": name}, note, better=Better.HIGHER)
        randoms = torch.stack([one.accuracies.mean() for one in line.randoms])
        mean, ends = mean_interval(randoms, low=0, high=1)
        words = f"control: {len(randoms)} random concepts; {note}"
        yield _row("random_accuracy", mean, ends, len(randoms), {"concept": name}, words)
        unknown = separates(line, least=least)
        for group, decision in enumerate(found.groups):
            one, p = cells[name, group], corrected[name, group]
            at: dict[str, str | float] = {"concept": name, "decision": decision}
            failed = "; ".join(filter(None, (unknown, "random concepts do as much" if p >= LEVEL else "")))
            status = Status.INVALID if failed else Status.MEASURED
            words = f"{f'control failed: {failed}; ' if failed else ''}p = {p:.2g}"
            count = found.counts[group]
            yield _row("score", one.score, one.interval, count, at, words, status=status)
            yield _row("sensitivity", one.sensitivity, one.spread, count, at, words, status=status)
            words = f"control: {len(line.randoms)} random concepts; the interval holds 95 % of them; p is that one of "
            words += "them is as sensitive, two-sided, by Holm's correction for all concepts and decisions"
            yield _row("random_sensitivity", one.random, one.band, len(line.randoms), at, words)


def _row(
    name: str,
    value: float,
    ends: tuple[float, float] | None,
    count: int,
    at: dict[str, str | float],
    note: str,
    *,
    status: Status = Status.MEASURED,
    better: Better | None = None,
) -> Measurement:
    return Measurement(
        name=name,
        value=value,
        status=status,
        better=better,
        interval=ends,
        count=count,
        at=at,
        split=SPLIT,
        note=note,
        meaning=MEANINGS[name],
    )
