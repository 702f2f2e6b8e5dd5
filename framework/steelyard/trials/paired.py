"""Whether two runs on the same examples differ: each example is held against itself."""

import csv
import hashlib
import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import NormalDist, mean, stdev

from steelyard import folder as run_folder
from steelyard.measurement import EXAMPLES, TARGET

_T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""Two-sided 95 % quantiles of Student's t for 1 to 10 degrees of freedom."""
LEVEL = 0.05
"""How often chance alone may tell two runs apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """What a run came to, example by example.

    Attributes:
        data: What tells the examples from others: a digest of the data's fingerprint and the right answers, in order.
        values: Metric -> one value for each example; without those that some example lacks.
    """

    data: str
    values: "dict[str, array[float]]"


@lru_cache(maxsize=64)
def examples(place: Path, key: str) -> Examples | None:
    """The examples that a section of a run kept; None where it kept none.

    Args:
        place: The run folder.
        key: Of the section: "task", or a plugin's.
    """
    file = place.joinpath(*key.split("."), f"{EXAMPLES}.csv")
    try:
        heads, *rows = csv.reader(file.read_text().splitlines())
        columns = dict(zip(heads, zip(*rows, strict=True), strict=True))
        told = [str(run_folder.read_json(place / "provenance.json")["data_fingerprint"]), *columns.pop(TARGET)]
        values = {name: array("d", map(float, column)) for name, column in columns.items() if all(column)}
    except (OSError, ValueError, KeyError):
        return None
    return Examples(data=hashlib.sha256("\n".join(told).encode()).hexdigest(), values=values)


def pairs_of(first: Path, second: Path, name: str) -> list[tuple[float, float]] | None:
    """The values of two runs for each example; None where they did not look at the same ones.

    Args:
        first: A run folder.
        second: Another.
        name: Full name of the measurement that is their mean.
    """
    key, _, metric = name.rpartition(".")
    one, other = examples(first, key), examples(second, key)
    if one is None or other is None or one.data != other.data:
        return None
    left, right = one.values.get(metric), other.values.get(metric)
    return None if left is None or right is None else list(zip(left, right, strict=True))


def differ(values: Sequence[tuple[float, float]]) -> bool:
    """True if two runs differ by more than chance in the choice of examples does in 5 % of cases, in either direction.

    Of right and wrong answers by McNemar's exact test, of other values by Student's t of the differences.

    Args:
        values: Of both runs, example by example.
    """
    differences = [left - right for left, right in values]
    if all(value in (0.0, 1.0) for pair in values for value in pair):
        return mcnemar(sum(one > 0 for one in differences), sum(one < 0 for one in differences)) < LEVEL
    count = len(differences)
    if count < 2:
        return False
    return abs(mean(differences)) > student(count - 1) * stdev(differences) / math.sqrt(count)


def student(freedom: int) -> float:
    """The two-sided 95 % quantile of Student's t."""
    if freedom <= len(_T95):
        return _T95[freedom - 1]
    z = NormalDist().inv_cdf(0.975)
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def mcnemar(lost: int, gained: int) -> float:
    """Two-sided p-value of McNemar's exact test: the discordant pairs fall either way like a fair coin (1947).

    Args:
        lost: Examples that the first alone decides right.
        gained: Examples that the second alone decides right.
    """
    count = lost + gained
    # Whole numbers, so that no tail is lost in rounding.
    term = tail = 1
    for at in range(min(lost, gained)):
        term = term * (count - at) // (at + 1)
        tail += term
    return min(1.0, 2 * tail / 2**count)
