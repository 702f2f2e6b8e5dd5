"""The numbers of a scorecard under names that every tracker takes."""

import re

from steelyard.measurement import Measurement
from steelyard.scorecard import Scorecard


def scores(card: Scorecard) -> dict[str, float]:
    """What was measured, with `.low` and `.high` where there is an interval.

    A point of a curve has its place in its name: `stability.noise.accuracy/severity_3`. What was skipped, failed or is
    invalid is left out: a tracker draws every number as if it were good.
    """
    found: dict[str, float] = {}
    for row in card.measurements():
        if not row.stands or row.value is None:
            continue
        name = _name(row)
        found[name] = float(row.value)
        if row.interval is not None:
            found[f"{name}.low"], found[f"{name}.high"] = map(float, row.interval)
    return found


def _name(row: Measurement) -> str:
    point = "".join(f"/{key}_{_short(value)}" for key, value in row.at.items())
    return re.sub(r"[^a-zA-Z0-9_./ -]", "_", f"{row.name}{point}")


def _short(value: str | float) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
