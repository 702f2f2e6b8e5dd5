import io

import numpy as np
import pytest
import torch
from PIL import Image

from steelyard.adapters import ImageAdapter, TableAdapter
from steelyard.adapters.scoring import ClassScoring
from steelyard.adapters.side_by_side import Comparing, side_by_side

NONE = torch.zeros(2, dtype=torch.long)
IMAGES = ImageAdapter(scoring=ClassScoring(), bounds=(0, 1))
ROWS = TableAdapter(scoring=ClassScoring(), bounds=None)


def drawn(adapter: ImageAdapter | TableAdapter, inputs: torch.Tensor, *maps: torch.Tensor) -> np.ndarray:
    names = [f"method {number}" for number in range(len(maps))]
    png = side_by_side(adapter, (inputs, NONE), maps, names=names, titles=["first", "second"], decisions=NONE)
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


@pytest.mark.parametrize(("methods", "columns", "rows"), [(1, 2, 2), (5, 6, 2), (6, 4, 4), (13, 6, 6)])
def test_an_image_stands_once_beside_its_methods_and_again_where_they_are_many(
    methods: int, columns: int, rows: int
) -> None:
    picture = drawn(IMAGES, torch.rand(2, 1, 4, 4), *[torch.randn(2, 1, 4, 4)] * methods)
    assert picture.shape == (220 * rows + 60, 170 * columns, 3)


def test_all_maps_are_on_one_scale() -> None:
    full = torch.ones(2, 1, 4, 4)
    picture = drawn(IMAGES, torch.zeros(2, 1, 4, 4), full, full / 4)
    strong, weak = (picture[150, 170 * column + 85] for column in (1, 2))
    assert strong[0] - strong[2] > 50
    assert weak[0] - weak[2] > 0
    assert strong.sum() < weak.sum()


def test_rows_of_a_table_are_drawn_once_for_each_method() -> None:
    assert isinstance(IMAGES, Comparing)
    assert not isinstance(ROWS, Comparing)
    inputs, one, two = (torch.randn(2, 3, generator=torch.Generator().manual_seed(seed)) for seed in range(3))
    once = ROWS.draw((inputs, NONE), one, titles=["a", "b"], decisions=NONE)
    assert side_by_side(ROWS, (inputs, NONE), [one], names=[], titles=["a", "b"], decisions=NONE) == once
    twice = ROWS.draw(
        (inputs.repeat_interleave(2, dim=0), NONE.repeat(2)),
        torch.stack([one[0], two[0], one[1], two[1]]),
        titles=["x\na", "y\na", "x\nb", "y\nb"],
        decisions=NONE.repeat(2),
    )
    assert side_by_side(ROWS, (inputs, NONE), [one, two], names=["x", "y"], titles=["a", "b"], decisions=NONE) == twice
