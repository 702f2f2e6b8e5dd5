"""Cutting batches of any structure."""

from collections import UserDict, namedtuple
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from steelyard_privacy._batches import Unclear, pieces, rows, take

Pair = namedtuple("Pair", ["x", "y"])


@dataclass(frozen=True)
class Data:
    x: Tensor
    scale: float = 2.0


X, Y = torch.arange(12.0).view(4, 3), torch.arange(4)
BATCHES: dict[str, Any] = {
    "tensor": X,
    "tuple": (X, Y),
    "list": [X, Y],
    "dict": {"x": X, "y": Y, "names": ["a", "b", "c", "d"], "temperature": 0.5},
    "nested": [{"x": X, "masks": (Y, Y)}, {"meta": "train", "scalar": torch.tensor(3.0)}],
    "namedtuple": Pair(X, Y),
    "dataclass": Data(X),
    "mapping": UserDict({"x": X}),
    "array": (np.ones((4, 2)), ("a", "b", "c", "d")),
}


@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES.keys())
def test_pieces_are_batches_of_the_same_structure(batch: Any) -> None:
    assert rows(batch) == 4
    for which, count in ((slice(1, 3), 2), (slice(0, 0), 0), ([3, 0, 0], 3)):
        part = take(batch, which)
        assert type(part) is type(batch)
        assert rows(part) == count


def test_the_right_examples_are_taken() -> None:
    part = take(BATCHES["dict"], [2, 0])
    assert part["x"].tolist() == X[[2, 0]].tolist()
    assert part["names"] == ["c", "a"]
    assert part["temperature"] == 0.5


@pytest.mark.parametrize("batch", [(X, torch.ones(3)), torch.tensor(1.0), "text", {}])
def test_batches_without_clear_examples_are_refused(batch: Any) -> None:
    with pytest.raises(Unclear):
        rows(batch)


@pytest.mark.parametrize(("count", "largest"), [(10, 3), (9, 3), (1, 4), (7, None), (64, 7)])
def test_pieces_are_few_and_of_nearly_equal_size(count: int, largest: int | None) -> None:
    sizes = [piece.stop - piece.start for piece in pieces(count, largest=largest)]
    assert sum(sizes) == count
    assert max(sizes) - min(sizes) <= 1
    assert len(sizes) == -(-count // (largest or count))


def test_no_example_makes_no_piece() -> None:
    assert pieces(0, largest=3) == []
