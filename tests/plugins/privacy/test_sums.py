"""The vector in which the gradients of a batch are summed up."""

from typing import Any

import pytest
import torch
from torch.nn import Parameter
from torch.utils._python_dispatch import TorchDispatchMode

from steelyard_privacy import _sums
from steelyard_privacy._sums import Layout, Sums


class Products(TorchDispatchMode):
    """Notes how many rows the factors of each product have."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.addmm.out:
            self.rows.append(len(args[2]))
        return func(*args, **(kwargs or {}))


def test_products_wait_until_they_are_as_large_as_the_weight() -> None:
    weight = Parameter(torch.zeros(4, 6))
    sums = Sums(Layout([weight]))
    left, right = torch.randn(2, 5, 4), torch.randn(2, 5, 6)
    # Of the pieces' 2 (4 + 6) elements each the second reaches the weight's 24.
    for piece in range(5):
        sums.add_product(weight, left[:, piece], right[:, piece])
        assert bool(sums.view(weight).any()) == (piece > 0)
    torch.testing.assert_close(sums.total().view(4, 6), torch.einsum("xyp,xyd->pd", left, right))
    sums.reset()
    assert not bool(sums.total().any())


def test_what_nothing_is_added_to_is_zero_in_the_next_sum() -> None:
    first, second, third = (Parameter(torch.zeros(2, 3)) for _ in range(3))
    sums = Sums(Layout([first, second, third]))
    sums.add_rows(first, torch.ones(4), torch.full((4, 6), torch.nan))
    sums.view(third).fill_(torch.nan)
    sums.reset()
    sums.view(second).add_(1)
    sums.add_rows(third, torch.tensor([2.0, 3.0]), torch.ones(2, 6))
    sums.add_product(third, torch.ones(5, 2), torch.ones(5, 3))
    assert sums.total().tolist() == [0.0] * 6 + [1.0] * 6 + [10.0] * 6


def test_products_wait_only_where_others_are_to_come() -> None:
    weight = Parameter(torch.zeros(3, 4))
    sums = Sums(Layout([weight]))
    for patient in (True, False):
        sums.reset(patient=patient)
        sums.add_product(weight, torch.ones(1, 3), torch.ones(1, 4))
        assert [len(pairs) for pairs in sums._waiting.values()] == ([1] if patient else [])
        torch.testing.assert_close(sums.total(), torch.ones(12))


def test_the_weights_of_examples_are_spread_over_their_positions_once() -> None:
    sums = Sums(Layout([Parameter(torch.zeros(2))]))
    weights = torch.tensor([1.0, 2.0])
    spread = sums.spread(weights, 3)
    assert spread.tolist() == [1, 1, 1, 2, 2, 2]
    assert sums.spread(weights, 3) is spread
    assert sums.spread(weights, 2).tolist() == [1, 1, 2, 2]
    assert sums.spread(weights.clone(), 3) is not spread


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (2, 1, 0)])
def test_numbers_in_another_order_are_added_where_they_belong(order: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    weight = Parameter(torch.zeros(2, 3, 4))
    sums, values = Sums(Layout([weight])), torch.randn(2, 3, 4)
    sums.view(weight).fill_(torch.nan)
    sums.reset()
    for times in (1, 2):
        # What stood there before is overwritten, and what was added is kept.
        sums.add_reordered(weight, values.permute(order).contiguous(), order)
        assert not sums.clean
        torch.testing.assert_close(sums.view(weight), times * values)


@pytest.mark.parametrize(("rows", "parts"), [(6, [6]), (5, [1, 4]), (1, [1, 0])])
def test_a_large_product_of_an_odd_number_of_rows_is_made_in_two(
    monkeypatch: pytest.MonkeyPatch, rows: int, parts: list[int]
) -> None:
    monkeypatch.setattr(_sums, "LARGE", 0)
    torch.manual_seed(0)
    weight = Parameter(torch.zeros(3, 4))
    sums, left, right = Sums(Layout([weight])), torch.randn(rows, 3), torch.randn(rows, 4)
    sums.view(weight).fill_(torch.nan)
    sums.reset(patient=False)
    for times in (1, 2):
        with Products() as products:
            sums.add_product(weight, left, right)
        assert products.rows == parts
        torch.testing.assert_close(sums.view(weight), times * left.T @ right)


def test_a_small_product_is_made_at_once() -> None:
    weight = Parameter(torch.zeros(3, 4))
    sums = Sums(Layout([weight]))
    sums.reset(patient=False)
    with Products() as products:
        sums.add_product(weight, torch.randn(5, 3), torch.randn(5, 4))
    assert products.rows == [5]
