# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Loss against compute over several runs: a power law with its intervals, or why there is none."""

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from steelyard.measurement import Artefact, Better, Measurement, Picture, Status
from steelyard.stored import StoredRun

COMPUTE = "compute.cost.train_flops"
LEAST_AMOUNTS, LEAST_SPAN, NEXT = 5, 8.0, 10.0
"""Different amounts of compute, and their span, below which nothing is fitted; the factor that is foretold."""
ALIKE = 0.01
"""Amounts that differ by less count as one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerLaw:
    """loss = exp(height) * (compute / centre) ** -exponent, by least squares of the logarithms.

    Attributes:
        exponent: How fast the loss falls.
        interval: Of the exponent (Student).
        height: Logarithm of the loss at the centre.
        centre: Geometric mean of the compute.
        deviation: Of the logarithm of a run's loss round the line.
        spread: Sum of the squared distances of log compute from its mean.
        count: Runs.
        largest: The most compute of a run.
    """

    exponent: float
    interval: tuple[float, float]
    height: float
    centre: float
    deviation: float
    spread: float
    count: int
    largest: float

    def foretold(self, compute: float, *, level: float = 0.95) -> tuple[float, tuple[float, float]]:
        """The loss of one more run with this compute, and the interval for it (Draper and Smith 1998, section 1.4)."""
        far = math.log(compute / self.centre)
        middle = self.height - self.exponent * far
        width = self.deviation * math.sqrt(1 + 1 / self.count + far**2 / self.spread)
        half = _student(level, self.count - 2) * width
        return math.exp(middle), (math.exp(middle - half), math.exp(middle + half))


def fit(compute: Sequence[float], loss: Sequence[float], *, level: float = 0.95) -> PowerLaw | str:
    """The power law, or in words why the numbers do not support one.

    Args:
        compute: Of each run, in FLOP.
        loss: Of each run.
        level: Of the intervals and of the test for a bend.
    """
    if min(loss) <= 0 or min(compute) <= 0:
        return "a power law needs losses and compute above 0"
    x, y = np.log(np.asarray(compute, dtype=float)), np.log(np.asarray(loss, dtype=float))
    amounts, span = _amounts(x), math.exp(float(x.max() - x.min()))
    if amounts < LEAST_AMOUNTS:
        return f"{amounts} different amounts of compute; at least {LEAST_AMOUNTS} are needed"
    if span < LEAST_SPAN:
        return f"the compute spans a factor of {span:.3g}; at least {LEAST_SPAN:g} is needed"
    centred, count = x - x.mean(), len(x)
    spread = float((centred**2).sum())
    slope = float((centred * y).sum()) / spread
    rest = y - y.mean() - slope * centred
    deviation = math.sqrt(float((rest**2).sum()) / (count - 2))
    half = _student(level, count - 2) * deviation / math.sqrt(spread)
    low, high = -slope - half, -slope + half
    if low <= 0:
        return f"the loss does not clearly fall with compute: exponent {-slope:.3g} [{low:.3g}, {high:.3g}]"
    if _bent(centred, rest, level):
        return (
            "in logarithms the loss lies on a curve and not on a line, so the next factor of ten cannot be read off it"
        )
    return PowerLaw(
        exponent=-slope,
        interval=(low, high),
        height=float(y.mean()),
        centre=math.exp(float(x.mean())),
        deviation=deviation,
        spread=spread,
        count=count,
        largest=max(compute),
    )


def over_runs(runs: Sequence[StoredRun], loss: str) -> Iterator[Measurement | Artefact]:
    """One fit for each set of choices with at least three amounts of compute.

    Args:
        runs: With costs on their scorecards.
        loss: Full name of the measurement that is followed.
    """
    groups: dict[str, list[tuple[float, float]]] = {}
    for run in runs:
        point = _value(run, COMPUTE), _value(run, loss)
        if point[0] is not None and point[1] is not None:
            words = ", ".join(value for value in run.scorecard.choices.values() if value != "none")
            groups.setdefault(words, []).append((point[0], point[1]))
    for words, points in groups.items():
        compute, losses = zip(*points, strict=True)
        if _amounts(np.log(np.maximum(compute, 1.0))) >= 3:
            yield from _said(words, compute, losses, loss, alone=len(groups) == 1)


def _said(
    words: str, compute: Sequence[float], losses: Sequence[float], loss: str, *, alone: bool
) -> Iterator[Measurement | Artefact]:
    at: dict[str, str | float] = {} if alone else {"choices": words}
    meaning = "by which power of the compute the loss falls: at 0.1, ten times the compute takes a fifth of it away"
    law = fit(compute, losses)
    if isinstance(law, str):
        yield Measurement(name="scaling_exponent", status=Status.SKIPPED, at=at, note=law, meaning=meaning)
        return
    yield Measurement(
        name="scaling_exponent",
        value=law.exponent,
        better=Better.HIGHER,
        interval=law.interval,
        count=law.count,
        at=at,
        note=f"least squares of log {loss} on log {COMPUTE}; no floor is assumed, so it holds near the runs alone",
        meaning=meaning,
    )
    value, interval = law.foretold(NEXT * law.largest)
    now, _ = law.foretold(law.largest)
    yield Measurement(
        name="loss_at_ten_times",
        value=value,
        status=Status.ESTIMATED,
        better=Better.LOWER,
        interval=interval,
        count=law.count,
        at=at,
        note=f"extrapolated from {now:.4g} at {law.largest:.3g} FLOP, the most of a run; the interval is for one more "
        "run, if the power law goes on",
        meaning="loss to expect of a run with ten times the compute of the largest",
    )
    yield Picture(
        name="scaling",
        title=f"Loss against compute: {words}",
        png=_drawn(law, compute, losses, loss),
        alt=f"{law.count} runs; the loss falls by the power {law.exponent:.3g} of the compute",
    )


def _value(run: StoredRun, name: str) -> float | None:
    found = [item for item in run.scorecard.measurements() if item.name == name and not item.at and item.stands]
    return found[0].value if found else None


def _amounts(logarithms: Any) -> int:
    ordered = np.sort(logarithms)
    return 1 + int((np.diff(ordered) > math.log1p(ALIKE)).sum())


def _bent(centred: Any, rest: Any, level: float) -> bool:
    """Whether a square of log compute would explain what the line leaves (t-test)."""
    count = len(centred)
    basis = np.stack([np.ones(count), centred])
    square = centred**2
    # What of the square the line cannot say already.
    own = square - basis.T @ np.linalg.lstsq(basis.T, square, rcond=None)[0]
    size = float((own**2).sum())
    coefficient = float((own * rest).sum()) / size
    left = rest - coefficient * own
    variance = float((left**2).sum()) / (count - 3)
    # Rounding of numbers that lie on the line is no bend.
    return abs(coefficient) * math.sqrt(size) > _student(level, count - 3) * math.sqrt(variance) + 1e-9


def _student(level: float, freedom: int) -> float:
    student: Any = stats.t
    return float(student.ppf((1 + level) / 2, freedom))


def _drawn(law: PowerLaw, compute: Sequence[float], losses: Sequence[float], loss: str) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    axes: Any = figure.subplots()
    places = np.geomspace(min(compute), NEXT * law.largest, 60)
    told = [law.foretold(float(place)) for place in places]
    axes.fill_between(
        places, [low for _, (low, _) in told], [high for _, (_, high) in told], color="#2563eb", alpha=0.15
    )
    axes.plot(places, [value for value, _ in told], color="#2563eb", linewidth=1.5)
    axes.plot(compute, losses, "o", color="#111827", markersize=4)
    axes.axvline(law.largest, color="#9ca3af", linestyle="--", linewidth=1)
    axes.set(xscale="log", yscale="log", xlabel="FLOP of the training", ylabel=loss)
    axes.grid(color="#e5e7eb", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()
