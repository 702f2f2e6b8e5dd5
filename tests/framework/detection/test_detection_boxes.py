"""Boxes and their assignment, against slow obvious ways."""

from itertools import permutations

import pytest
import torch

from steelyard.adapters import IGNORED
from steelyard.detection._matching import cheapest, pairs
from steelyard.detection.boxes import corners, generous_overlap, overlap, there

GRID = 200


def some(*shape, seed=0):
    random = torch.Generator().manual_seed(seed)
    size = 0.1 + 0.4 * torch.rand(*shape, 2, generator=random)
    return torch.cat([0.3 + 0.4 * torch.rand(*shape, 2, generator=random), size], dim=-1)


def painted(box):
    """The points of a grid that a box covers."""
    left, top, right, bottom = corners(box).tolist()
    places = (torch.arange(GRID) + 0.5) / GRID
    return ((places > top) & (places < bottom))[:, None] & ((places > left) & (places < right))


def test_corners():
    assert corners(torch.tensor([0.5, 0.4, 0.2, 0.6])).tolist() == pytest.approx([0.4, 0.1, 0.6, 0.7])


def test_overlap_is_what_counting_points_gives():
    one, other = some(20), some(20, seed=1)
    for first, second, value in zip(one, other, overlap(one, other), strict=True):
        both, either = painted(first) & painted(second), painted(first) | painted(second)
        assert float(value) == pytest.approx(both.sum().item() / either.sum().item(), abs=0.02)


def test_generous_overlap_tells_how_far_boxes_are_apart():
    one = torch.tensor([0.1, 0.1, 0.1, 0.1])
    near, far = torch.tensor([0.3, 0.1, 0.1, 0.1]), torch.tensor([0.9, 0.1, 0.1, 0.1])
    assert overlap(one, near) == overlap(one, far) == 0
    # The hull is 0.3 by 0.1, a third of it is gap; then 0.9 by 0.1.
    assert float(generous_overlap(one, near)) == pytest.approx(-1 / 3)
    assert float(generous_overlap(one, far)) == pytest.approx(-7 / 9)
    assert float(generous_overlap(one, one)) == pytest.approx(1)
    assert (generous_overlap(some(50), some(50, seed=1)) <= overlap(some(50), some(50, seed=1)) + 1e-6).all()


def test_boxes_without_area_overlap_with_nothing_and_have_finite_gradients():
    flat = torch.tensor([[0.5, 0.5, 0.0, 0.0]], requires_grad=True)
    value = overlap(flat, flat) + generous_overlap(flat, some(1))
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(flat.grad).all()
    assert overlap(flat, flat) == 0


def test_the_cheapest_assignment_is_the_best_of_all_assignments():
    random = torch.Generator().manual_seed(0)
    costs = torch.rand(3, 2, 5, 3, generator=random)
    present = torch.tensor([[True, True, True], [True, False, True]])
    chosen = cheapest(costs, present)
    assert chosen.shape == (3, 2, 3)
    for step in range(3):
        for example in range(2):
            objects = present[example].nonzero()[:, 0].tolist()
            best = min(
                sum(float(costs[step, example, query, at]) for query, at in zip(queries, objects, strict=True))
                for queries in permutations(range(5), len(objects))
            )
            queries = chosen[step, example, objects].tolist()
            assert len({*queries}) == len(objects)
            ours = sum(float(costs[step, example, query, at]) for query, at in zip(queries, objects, strict=True))
            assert ours == pytest.approx(best)


def test_what_is_no_number_is_chosen_only_without_a_choice():
    nan, inf = float("nan"), float("inf")
    costs = torch.tensor([[[nan], [3.0], [inf]]])
    assert cheapest(costs, torch.tensor([[True]])).tolist() == [[1]]
    assert cheapest(torch.full((1, 2, 1), nan), torch.tensor([[True]])).shape == (1, 1)


def test_on_the_meta_device_any_assignment_will_do():
    costs = torch.empty(2, 5, 3, device="meta")
    assert cheapest(costs, torch.ones(2, 3, dtype=torch.bool, device="meta")).is_meta


def rows(*objects, count=4):
    filled = torch.full((count, 5), float(IGNORED))
    for place, row in enumerate(objects):
        filled[place] = torch.tensor(row)
    return filled[None]


HERE, NEAR, THERE = (0.3, 0.3, 0.2, 0.2), (0.32, 0.3, 0.2, 0.2), (0.7, 0.7, 0.2, 0.2)


@pytest.mark.parametrize(
    ("one", "other", "count"),
    [
        (rows((0, *HERE)), rows((0, *NEAR)), 1),
        (rows((0, *HERE)), rows((1, *NEAR)), 0),
        (rows((0, *HERE)), rows((0, *THERE)), 0),
        (rows((0, *HERE), (0, *NEAR)), rows((0, *HERE)), 1),
        (rows((0, *HERE), (0, *NEAR)), rows((0, *NEAR), (0, *HERE)), 2),
        (rows((0, *HERE), (1, *THERE)), rows((1, *THERE), (0, *HERE), (2, *HERE)), 2),
        (rows(), rows(), 0),
        (rows(), rows((0, *HERE)), 0),
        (rows(count=0), rows((0, *HERE)), 0),
    ],
)
def test_pairs(one, other, count):
    assert pairs(one, other).tolist() == [count]
    assert pairs(other, one).tolist() == [count]


def test_pairs_are_as_many_as_can_be():
    # The first fits both, the second only the nearest of them: taking the nearest first would leave one alone.
    one = rows((0, 0.30, 0.5, 0.2, 0.2), (0, 0.24, 0.5, 0.2, 0.2))
    other = rows((0, 0.29, 0.5, 0.2, 0.2), (0, 0.36, 0.5, 0.2, 0.2))
    assert pairs(one, other).tolist() == [2]


def test_there():
    assert there(rows((2, *HERE))).tolist() == [[True, False, False, False]]
