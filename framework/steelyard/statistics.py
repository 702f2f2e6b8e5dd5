"""Intervals that the field trusts; thin names over SciPy so that every plugin uses the same ones."""

from typing import Any

from steelyard.measurement import Better, Measurement


def clopper_pearson(successes: int, count: int, *, level: float = 0.95) -> tuple[float, float]:
    """The exact interval of a proportion (Clopper and Pearson 1934); its coverage is never below `level`.

    Args:
        successes: 0 to `count`.
        count: Trials, at least 1.
        level: Between 0 and 1.

    Raises:
        ValueError: If `successes` or `count` is out of range.
    """
    if count < 1 or not 0 <= successes <= count:
        raise ValueError(f"{successes} successes of {count} trials")
    from scipy import stats

    beta: Any = stats.beta
    tail = (1 - level) / 2
    low = 0.0 if successes == 0 else float(beta.ppf(tail, successes, count - successes + 1))
    high = 1.0 if successes == count else float(beta.ppf(1 - tail, successes + 1, count - successes))
    return low, high


def proportion(
    name: str,
    successes: int,
    count: int,
    *,
    better: Better | None,
    split: str | None,
    at: dict[str, str | float] | None = None,
    note: str = "",
    meaning: str = "",
) -> Measurement:
    """A fraction as a measurement with its Clopper-Pearson interval."""
    return Measurement(
        name=name,
        value=successes / count,
        better=better,
        interval=clopper_pearson(successes, count),
        count=count,
        at=at or {},
        split=split,
        note=note,
        meaning=meaning,
    )
