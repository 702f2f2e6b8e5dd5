"""Four bits on the quantiles of a normal distribution, against the slow and obvious way."""

import pytest
import torch
from torch import Tensor

from steelyard_compute._normal_float import LEVELS, SHARED, NormalFloat, fine, nf4, rounded_scales

# Appendix E of Dettmers et al. (2023).
PUBLISHED = """
-1.0 -0.6961928009986877 -0.5250730514526367 -0.39491748809814453 -0.28444138169288635 -0.18477343022823334
-0.09105003625154495 0.0 0.07958029955625534 0.16093020141124725 0.24611230194568634 0.33791524171829224
0.44070982933044434 0.5626170039176941 0.7229568362236023 1.0"""


def test_the_levels_are_those_that_were_published() -> None:
    assert pytest.approx([float(word) for word in PUBLISHED.split()], abs=3e-7) == LEVELS


def by_hand(weight: Tensor, scales: list[float], *, block: int) -> list[float]:
    """Every weight to the nearest level, one by one."""
    found: list[float] = []
    for place, number in enumerate(weight.flatten().tolist()):
        scale = scales[place // block]
        found.append(min((abs(level * scale - number), level * scale) for level in LEVELS)[1])
    return found


def drawn(*shape: int) -> Tensor:
    torch.manual_seed(0)
    return torch.randn(*shape) * torch.rand(shape[0], *[1] * (len(shape) - 1))


@pytest.mark.parametrize(("shape", "block"), [((5, 64), 64), ((7, 9), 4), ((3, 5, 3), 16)])
@pytest.mark.parametrize("double", [False, True])
def test_each_weight_goes_to_the_nearest_level(shape: tuple[int, ...], block: int, double: bool) -> None:
    weight = drawn(*shape)
    packed = nf4(weight, block=block, double=double)
    scales = fine(packed.scales, packed.coarse).tolist()
    if not double:
        assert scales == [max(map(abs, part.tolist())) for part in weight.flatten().split(block)]
    found = packed.values()
    assert found.shape == weight.shape
    # In 32 bits the two ways may differ where a weight lies halfway; then both are as near.
    distance = (found - weight).abs().flatten()
    best = (torch.tensor(by_hand(weight, scales, block=block)) - weight.flatten()).abs()
    torch.testing.assert_close(distance, best, rtol=1e-5, atol=1e-6)


def test_scales_are_rounded_to_the_nearest_float_of_8_bits() -> None:
    torch.manual_seed(0)
    scales = torch.rand(300) + 0.5
    codes, coarse = rounded_scales(scales)
    assert (codes.shape, coarse.shape) == ((300,), (3,))
    floats = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).float()
    floats = floats[floats.isfinite()]
    mean = scales.mean()
    for part, found in zip(scales.split(SHARED), fine(codes, coarse).split(SHARED), strict=True):
        apart = part - mean
        most = apart.abs().max() / 448
        nearest = (apart[:, None] - floats * most).abs().amin(dim=1)
        torch.testing.assert_close((found - part).abs(), nearest, rtol=1e-4, atol=1e-6)
    assert (fine(codes, coarse) - scales).abs().max() < 0.5 / 16


@pytest.mark.parametrize(("double", "bits"), [(False, 4 + 32 / 64), (True, 4 + 8 / 64 + 32 / 64 / 256)])
def test_it_takes_what_the_paper_says(double: bool, bits: float) -> None:
    weight = torch.zeros(1024, 1024, device="meta")
    # One more number, the mean of the scales.
    assert nf4(weight, double=double).bytes == bits * 2**20 / 8 + 4 * double


@pytest.mark.parametrize("columns", [128, 96])
@pytest.mark.parametrize("double", [False, True])
def test_rows_are_those_of_the_whole(columns: int, double: bool) -> None:
    packed, numbers = nf4(drawn(9, columns), double=double), torch.tensor([[3, 0, 8], [3, 3, 1]])
    assert packed.rows(numbers).equal(packed.values()[numbers])


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("weight", [torch.zeros(3, 64), torch.full((2, 64), 1e-42), torch.full((2, 64), 3e38)])
def test_extreme_weights_stay_finite(weight: Tensor, double: bool) -> None:
    found = nf4(weight, double=double).values()
    assert found.isfinite().all()
    assert (found - weight).abs().max() <= 0.1 * weight.abs().max()


def test_what_is_kept_is_not_changed_by_a_number_format() -> None:
    packed = nf4(drawn(4, 64).bfloat16(), double=True)
    assert packed.values().dtype == torch.bfloat16
    assert all(not part.is_floating_point() for part in (packed.pairs, packed.scales, packed.coarse))
    other = NormalFloat(packed.pairs, packed.scales, packed.coarse, packed.shape, packed.block, torch.float32)
    assert other.values().bfloat16().equal(packed.values())
