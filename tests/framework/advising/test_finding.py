"""The search for the largest batch, against trying every size."""

import random
from collections.abc import Callable

import pytest

from steelyard.advising import batches
from steelyard.advising.finding import Found, largest


def truly(predict: Callable[[int], int], *, most: int, limit: int) -> int:
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if predict(middle) <= limit else (low, middle - 1)
    return low


def test_it_comes_within_three_percent_and_never_above() -> None:
    draw = random.Random(0)
    for _ in range(500):
        base, each = draw.choice([0.0, 1e6, 1e9]), 10 ** draw.uniform(2, 7)
        bent, step = draw.choice([0.0, 0.0, each / 1000]), draw.choice([1, 8])
        limit, most = int(10 ** draw.uniform(8, 10)), int(10 ** draw.uniform(0, 6))

        def predict(rows: int, *, base: float = base, each: float = each, bent: float = bent, step: int = step) -> int:
            return int(base + each * (-(-rows // step) * step) + bent * rows**2)

        found = largest(predict, start=draw.choice([1, 64, 1000]), most=most, limit=limit)
        best = truly(predict, most=most, limit=limit)
        assert 0.96 * best - 1 <= found.rows <= best
        assert (found.rows == 0) == (best == 0)
        assert found.capped == (found.rows == most)
        assert found.looks <= 16


def test_no_batch_is_tried_that_is_far_above_what_fits() -> None:
    tried: list[int] = []

    def predict(rows: int) -> int:
        tried.append(rows)
        return 1000 * rows

    assert 9700 <= largest(predict, start=8, most=10**9, limit=10_000_000).rows <= 10_000
    fitted = [rows for rows in tried if rows <= 10_000]
    assert all(rows <= 4 * max([one for one in fitted if one < rows], default=rows) for rows in tried)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Found(rows=0, need=0, looks=3, capped=False), "not even one example fits into 1.0 MiB"),
        (Found(rows=96, need=1000, looks=1, capped=True), "data.batch_size=96: 1,000 B, all of the training data"),
        (Found(rows=7, need=1000, looks=5, capped=False), "data.batch_size=7: 1,000 B, 1.0 MiB may be taken"),
    ],
)
def test_the_answer_in_words(found: Found, words: str) -> None:
    assert words in batches.in_words(found, limit=1024**2)
