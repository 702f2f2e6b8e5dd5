import numpy as np
import pytest
import torch

from steelyard_interpretability._deletion import (
    area,
    deletion_curve,
    importance,
    random_ranks,
    ranks_by,
    removal_counts,
)


def test_a_pixel_adds_up_its_channels() -> None:
    attributions = torch.tensor([[[1.0, 2.0], [10.0, 20.0]]])
    units = torch.tensor([[0, 1], [0, 1]])

    assert importance(attributions, units=units).tolist() == [[11.0, 22.0]]


def test_the_largest_goes_first() -> None:
    values = torch.tensor([[0.1, 5.0, -3.0, 5.0]])

    assert ranks_by(values).tolist() == [[2, 0, 3, 1]]


def test_counts_begin_with_nothing_and_end_with_all() -> None:
    assert removal_counts(64, points=4) == [0, 16, 32, 48, 64]
    assert removal_counts(3, points=10) == [0, 1, 2, 3]


def test_an_additive_score_falls_by_what_was_removed() -> None:
    weights = torch.tensor([1.0, 4.0, 2.0])
    inputs, baselines = torch.ones(2, 3), torch.zeros(2, 3)

    curve = deletion_curve(
        lambda x: x @ weights,
        inputs=inputs,
        baselines=baselines,
        units=torch.arange(3),
        ranks=ranks_by((inputs - baselines) * weights),
        counts=[0, 1, 2, 3],
    )

    assert curve.tolist() == [[7.0, 3.0, 1.0, 0.0]] * 2
    assert area(curve, counts=[0, 1, 2, 3]).tolist() == pytest.approx([(3.5 + 3 + 1) / 3] * 2)


def test_the_best_order_beats_every_other() -> None:
    torch.manual_seed(0)
    weights, inputs, baselines = torch.rand(8), torch.rand(5, 8), torch.zeros(5, 8)
    counts = removal_counts(8, points=8)

    def under(ranks: torch.Tensor) -> torch.Tensor:
        curve = deletion_curve(
            lambda x: x @ weights,
            inputs=inputs,
            baselines=baselines,
            units=torch.arange(8),
            ranks=ranks,
            counts=counts,
        )
        return area(curve, counts=counts)

    best = under(ranks_by(inputs * weights))
    others = [under(ranks) for ranks in random_ranks(0, numbers=range(5), units=8, orders=50)]
    assert all(bool((best <= other + 1e-6).all()) for other in others)


def test_random_orders_belong_to_the_example() -> None:
    whole = random_ranks(3, numbers=[4, 9, 2], units=6, orders=5)

    assert whole.shape == (5, 3, 6)
    assert bool((whole.sort(dim=2).values == torch.arange(6)).all())
    assert torch.equal(whole[:, 1:2], random_ranks(3, numbers=[9], units=6, orders=5))
    assert not torch.equal(whole, random_ranks(4, numbers=[4, 9, 2], units=6, orders=5))


def test_random_orders_are_uniform() -> None:
    first = random_ranks(0, numbers=range(400), units=5, orders=5).argmin(dim=2).flatten()

    counts = np.bincount(first.numpy(), minlength=5)
    assert abs(counts - 400).max() < 5 * np.sqrt(2000 * 0.2 * 0.8)


def test_padding_is_never_removed_and_all_lose_the_same_share_of_their_own() -> None:
    values = torch.tensor([[3.0, 9.0, 1.0, 2.0, 0.0, 0.5], [1.0, 2.0, 9.0, 9.0, 9.0, 9.0]])
    present = torch.tensor([[True] * 6, [True, True, False, False, False, False]])
    ranks = ranks_by(values, present=present)
    assert ranks.tolist() == [[1, 0, 3, 2, 5, 4], [3, 0, 6, 6, 6, 6]]
    for count, gone in ((0, 0), (1, 1), (3, 1), (4, 2), (6, 2)):
        assert int((ranks[1] < count).sum()) == gone
    assert torch.equal(ranks_by(values), ranks_by(values, present=torch.ones_like(present)))


def test_random_orders_of_what_is_present_are_uniform() -> None:
    present = torch.tensor([[True, False, True, True, False]]).expand(600, 5)
    drawn = random_ranks(0, numbers=range(600), units=5, orders=1)[0]
    ranks = ranks_by(-drawn, present=present)
    assert ranks[:, 0].unique().tolist() == [0, 1, 3]
    first = (ranks == 0).double().mean(dim=0)
    assert first[[1, 4]].tolist() == [0, 0]
    torch.testing.assert_close(first[[0, 2, 3]], torch.full((3,), 1 / 3, dtype=torch.double), atol=0.07, rtol=0)
