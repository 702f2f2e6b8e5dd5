# pyright: reportUnknownMemberType=false
"""What batches of different shapes cost, told from a few of them.

All of our layers work through examples one by one, and what they do for an example is a polynomial of its length, of
degree two at most: a matrix product is linear in it, attention quadratic. So a few shapes give all others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._pytree import tree_leaves

APART = 8
"""Tensors in a batch whose lengths are told apart; of more, only the sum is looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How large a batch is.

    Attributes:
        rows: Examples in it.
        numbers: In each of its tensors, padding included.
    """

    rows: int
    numbers: tuple[int, ...]

    @property
    def size(self) -> int:
        """Numbers in all of it."""
        return sum(self.numbers)

    @property
    def lengths(self) -> tuple[float, ...]:
        """Numbers of one example in each tensor: batches of the same lengths cost the same for each example."""
        return tuple(count / max(self.rows, 1) for count in self.numbers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """What many batches cost together.

    Attributes:
        value: In the unit of the counted.
        told: Part of the batches whose cost was not counted but told from others.
    """

    value: float
    told: float


def shape_of(batch: Any, *, rows: int) -> Shape:
    """Of a batch of any structure."""
    numbers = tuple(leaf.numel() for leaf in tree_leaves(batch) if isinstance(leaf, Tensor))
    return Shape(rows=rows, numbers=numbers if len(numbers) <= APART else (sum(numbers),))


def total(counted: Mapping[Shape, float], seen: Mapping[Shape, int]) -> Total:
    """What all batches cost.

    The polynomial is of the highest degree that the counted shapes decide: two in all lengths, two or one in their
    sum, or the mean of an example.

    Args:
        counted: Cost of a batch of some shapes, at least one.
        seen: How many batches of each shape there are.
    """
    shapes = [*dict.fromkeys((*counted, *seen))]
    lengths = _lengths(shapes)
    place = {shape: at for at, shape in enumerate(shapes)}
    each = {shape: cost / max(shape.rows, 1) for shape, cost in counted.items()}
    by_length = {tuple(lengths[place[shape]]): cost for shape, cost in each.items()}
    features = _features(lengths, points=len(by_length))
    at = [place[shape] for shape in each]
    weights = np.linalg.lstsq(features[at], np.array([*each.values()]), rcond=None)[0]
    value, told, batches = 0.0, 0, 0
    for shape, count in seen.items():
        known = by_length.get(tuple(lengths[place[shape]]))
        cost = float(features[place[shape]] @ weights) if known is None else known
        value += count * shape.rows * max(cost, 0.0)
        told += count * (known is None)
        batches += count
    return Total(value=value, told=told / max(batches, 1))


def spread_out(shapes: Sequence[Shape]) -> list[Shape]:
    """Shapes to count so that all others can be told: the largest and the smallest, and some between them."""
    distinct = {shape.lengths: shape for shape in sorted(shapes, key=lambda shape: shape.size)}
    ordered = sorted(distinct.values(), key=lambda shape: sum(shape.lengths))
    places = np.linspace(0, len(ordered) - 1, deciding(shapes)).round()
    return [ordered[int(place)] for place in places]


def deciding(shapes: Sequence[Shape]) -> int:
    """How many different lengths decide the polynomial of degree two; all of them where they are fewer."""
    columns = _lengths(shapes).shape[1]
    return min(len({shape.lengths for shape in shapes}), (columns + 1) * (columns + 2) // 2)


def _lengths(shapes: Sequence[Shape]) -> NDArray[np.float64]:
    """Those lengths that differ from shape to shape, each once (shapes, columns)."""
    if len({len(shape.numbers) for shape in shapes}) > 1:
        return np.array([[sum(shape.lengths)] for shape in shapes])
    rows = np.array([shape.lengths for shape in shapes], dtype=np.float64).reshape(len(shapes), -1)
    columns = dict.fromkeys(tuple(column) for column in rows.T if np.ptp(column) > 0)
    return np.array([*columns], dtype=np.float64).reshape(len(columns), len(shapes)).T


def _features(lengths: NDArray[np.float64], *, points: int) -> NDArray[np.float64]:
    """Of all shapes, as many as the points decide (shapes, features)."""
    one, whole = np.ones(len(lengths)), _standard(lengths.sum(axis=1))
    columns = [_standard(column) for column in lengths.T]
    pairs = [left * right for at, left in enumerate(columns) for right in columns[at:]]
    for made in ([one, *columns, *pairs], [one, whole, whole**2], [one, whole]):
        if len(made) <= points:
            return np.stack(made, axis=1)
    return one[:, None]


def _standard(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round 0 and about 1 wide, so that squares and products stay apart from the values."""
    return (values - values.mean()) / (values.std() or 1.0)
