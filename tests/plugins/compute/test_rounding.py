import pytest
import torch
from torch import Tensor

from steelyard_compute._paired import paired_loss
from steelyard_compute._rounding import int4, int8

SHAPES = [(5, 7), (3, 64), (4, 3, 5), (2, 1)]


def drawn(shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", SHAPES)
def test_8_bits_are_at_most_half_a_level_away(shape: tuple[int, ...]) -> None:
    weights = drawn(shape)
    packed = int8(weights)
    largest = weights.abs().flatten(1).amax(dim=1).reshape(-1, *[1] * (len(shape) - 1))
    assert packed.values().shape == weights.shape
    assert ((packed.values() - weights).abs() <= largest / 127 / 2 * (1 + 1e-5)).all()
    assert packed.bytes == weights.numel() + 4 * len(weights)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("group", [2, 5, 32])
def test_4_bits_are_the_nearest_of_16_levels_of_their_group(shape: tuple[int, ...], group: int) -> None:
    weights = drawn(shape)
    packed, slow = int4(weights, group=group), torch.empty(shape).flatten(1)
    size = group + group % 2
    for row, flat in enumerate(weights.flatten(1)):
        for at in range(0, len(flat), size):
            part = flat[at : at + size]
            low, step = part.min().half().float(), ((part.max() - part.min()) / 15).half().float()
            levels = low + step * torch.arange(16)
            slow[row, at : at + size] = levels[(part[:, None] - levels).abs().argmin(dim=1)]
    torch.testing.assert_close(packed.values().flatten(1), slow, rtol=1e-5, atol=1e-6)
    groups = len(weights) * -(-weights[0].numel() // size)
    assert packed.bytes == groups * (size // 2 + 2 + 2)


def test_what_few_bits_can_say_is_kept_exactly() -> None:
    grid = torch.arange(16.0).repeat(3, 4)[:, torch.randperm(64, generator=torch.Generator().manual_seed(1))]
    assert int4(grid, group=64).values().equal(grid)
    even = torch.tensor([[-127.0, 3.0, 127.0], [0.0, 0.0, 0.0]])
    assert int8(even).values().equal(even)
    same = torch.full((2, 4), 0.5)
    assert int4(same, group=4).values().equal(same)


def test_weights_beyond_16_bits_keep_their_scales_in_32() -> None:
    large = drawn((2, 8)) * 1e6
    found = int4(large, group=8)
    assert found.scales.dtype == torch.float32
    assert ((found.values() - large).abs() <= found.scales.max() / 2 * 1.001).all()


@pytest.mark.parametrize("pack", [int8, lambda weights: int4(weights, group=4)])
def test_rows_are_those_of_the_whole(pack: object) -> None:
    packed = pack(drawn((9, 6)))  # type: ignore[operator]
    numbers = torch.tensor([[3, 0], [8, 3]])
    assert packed.rows(numbers).equal(packed.values()[numbers])


def test_the_paired_interval_is_that_of_the_two_counts() -> None:
    from steelyard_stability._intervals import paired_drop

    before, after = torch.ones(50), torch.ones(50)
    before[:3] = 0
    after[10:17] = 0
    found = paired_loss(before, after)
    value, (low, high) = paired_drop(lost=7, gained=3, count=50)
    assert found == (pytest.approx(value), (pytest.approx(low), pytest.approx(high)))
    nothing, (below, above) = paired_loss(before, before)
    assert nothing == 0
    assert below < -0.05 < 0.05 < above
    # Half marks say less than whole ones could.
    assert paired_loss(torch.full((40,), 0.5), torch.full((40,), 0.25))[0] == pytest.approx(0.25)
