"""Requirements: `require.privacy.dp_sgd.epsilon.max=8`, held against the unfavourable end of the interval."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from steelyard.measurement import Measurement, Status, by_name
from steelyard.narrowing import is_mapping
from steelyard.problem import Problem
from steelyard.scorecard import Judgement, Requirement

BOUNDS = ("min", "max")


def flatten(require: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of the nested `require` node as (dotted name, value), in order."""
    for key, value in require.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        if is_mapping(value):
            yield from flatten(value, name)
        else:
            yield name, value


def problems(require: Mapping[str, Any]) -> Iterator[Problem]:
    """What is wrong with the node itself, found before the run: a bound's name or a limit that is no number."""
    for name, limit in flatten(require):
        metric, _, bound = name.rpartition(".")
        if bound not in BOUNDS or not metric:
            # A whole node that was set to null has no number to go on with.
            fix = f"require.{name}.max={limit}" if isinstance(limit, int | float) else f"~require.{name}"
            yield Problem(f"require.{name} is no requirement: its last word is `min` or `max`", fix)
        elif isinstance(limit, bool) or not isinstance(limit, int | float):
            yield Problem(f"require.{name} must be a number, got {limit!r}", f"require.{name}=0.5")


def judge(require: Mapping[str, Any], measurements: Iterable[Measurement]) -> tuple[Requirement, ...]:
    """Every requirement against what was measured; on a curve every point has to hold."""
    named = by_name(measurements)
    rows: list[Requirement] = []
    for name, limit in flatten(require):
        metric, _, bound = name.rpartition(".")
        points = [_judge(metric, bound, float(limit), found) for found in named.get(metric, [])]
        points = points or [_missing(metric, bound, float(limit), "nobody measured it")]
        rows.append(max(points, key=_severity))
    return tuple(rows)


def _judge(name: str, bound: str, limit: float, found: Measurement) -> Requirement:
    if found.status is Status.INVALID:
        return Requirement(name=name, bound=bound, limit=limit, judgement=Judgement.INVALID, reason=found.note)
    if not found.stands or found.value is None:
        return _missing(name, bound, limit, f"{found.status}: {found.note}")
    low, high = found.interval or (found.value, found.value)
    held, best = (high, low) if bound == "max" else (low, high)
    where = "".join(f" at {key}={value}" for key, value in found.at.items())

    def holds(value: float) -> bool:
        return value <= limit if bound == "max" else value >= limit

    if holds(held):
        judgement, reason = Judgement.MET, ""
    elif found.interval is not None and holds(best):
        judgement = Judgement.INCONCLUSIVE
        reason = f"the {found.level:.0%} interval [{low:.4g}, {high:.4g}]{where} straddles the limit"
    else:
        judgement = Judgement.NOT_MET
        reason = where.strip()
        if found.interval is not None:
            interval = f"{found.level:.0%} interval [{low:.4g}, {high:.4g}]"
            reason = f"it is {found.value:.4g}{where}, and all of its {interval} is beyond the limit"
    return Requirement(name=name, bound=bound, limit=limit, judgement=judgement, held=held, reason=reason)


def _missing(name: str, bound: str, limit: float, reason: str) -> Requirement:
    return Requirement(name=name, bound=bound, limit=limit, judgement=Judgement.MISSING, reason=reason)


def _severity(requirement: Requirement) -> int:
    order = (Judgement.MET, Judgement.INCONCLUSIVE, Judgement.MISSING, Judgement.INVALID, Judgement.NOT_MET)
    return order.index(requirement.judgement)
