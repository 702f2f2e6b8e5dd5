"""The numbers behind noise and sampling: their distribution, their streams, and what no seed may decide."""

import math

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from scipy.stats import chi2, kstest, norm
from torch.profiler import ProfilerActivity, profile

from steelyard_privacy import _randomness
from steelyard_privacy._randomness import CHUNK, FEW, CipherNormals, DeviceNormals, Normals, Randomness

CPU = torch.device("cpu")
KEY = bytes(range(16))


def filled(normals: Normals, count: int, *, scale: float = 1.0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    out = torch.full((count,), torch.nan, dtype=dtype)
    normals.fill(out, scale=scale)
    return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_they_are_the_transform_of_box_and_muller_of_the_ciphers_bits(dtype: torch.dtype) -> None:
    found = filled(CipherNormals(KEY), 7, scale=3.0, dtype=dtype)
    size = dtype.itemsize
    stream = Cipher(algorithms.AES(KEY), modes.CTR(bytes(16))).encryptor().update(bytes(8 * size))
    words = [int.from_bytes(stream[start : start + size], "little") for start in range(0, 8 * size, size)]
    unit = 2.0 ** (8 * size)
    radii = [3.0 * math.sqrt(-2 * math.log((word + 0.5) / unit)) for word in words[:4]]
    angles = [2 * math.pi * word / unit for word in words[4:]]
    expected = [r * math.cos(a) for r, a in zip(radii, angles, strict=True)]
    expected += [r * math.sin(a) for r, a in zip(radii[:3], angles[:3], strict=True)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=dtype), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_they_are_normal_and_independent(dtype: torch.dtype) -> None:
    count = 2 * CHUNK + 11
    found = filled(CipherNormals(KEY), count, scale=2.0, dtype=dtype).double().numpy() / 2
    assert kstest(found, "norm").pvalue > 1e-4
    assert 1e-4 < chi2.cdf((found**2).sum(), count) < 1 - 1e-4
    beyond = 2 * norm.sf(4)
    assert abs((np.abs(found) > 4).sum() - count * beyond) < 5 * math.sqrt(count * beyond)
    # Both numbers of a pair, neighbours, and squares, of which the radius makes a pair share one.
    half = (CHUNK + 1) // 2
    for one, other in ((found[:half], found[half : 2 * half]), (found[:-1], found[1:])):
        for power in (1, 2):
            correlation = np.corrcoef(one**power, other**power)[0, 1]
            assert abs(correlation) < 5 / math.sqrt(len(one))


def test_the_smallest_word_gives_no_infinite_number() -> None:
    normals = CipherNormals(KEY)

    class Zeros:
        def update_into(self, data: memoryview, buffer: bytearray) -> None:
            buffer[: len(data)] = bytes(len(data))

    normals._cipher = Zeros()
    assert filled(normals, 2)[0] == pytest.approx(math.sqrt(2 * 33 * math.log(2)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("turn", [-0.5, -0.25, 0.25, 0.5])
def test_the_angle_may_be_any_part_of_a_turn(dtype: torch.dtype, turn: float) -> None:
    """Half a turn has a tangent of half its angle that is as large as numbers get."""
    normals = CipherNormals(KEY)
    size = 8 * dtype.itemsize
    words = [2 ** (size - 1), int(turn * 2**size) - (turn == 0.5)]

    class Words:
        def update_into(self, data: memoryview, buffer: bytearray) -> None:
            buffer[: len(data)] = b"".join((word % 2**size).to_bytes(size // 8, "little") for word in words)

    normals._cipher = Words()
    expected = torch.tensor([math.cos(2 * math.pi * turn), math.sin(2 * math.pi * turn)], dtype=dtype)
    found = filled(normals, 2, dtype=dtype) / math.sqrt(2 * math.log(2))
    torch.testing.assert_close(found, expected, rtol=0, atol=4 * torch.finfo(dtype).eps)


def test_a_stream_goes_on_and_does_not_repeat() -> None:
    normals = CipherNormals(KEY)
    first, second = filled(normals, 1000), filled(normals, 1000)
    assert len(np.intersect1d(first, second)) < 3
    assert bool(torch.isfinite(torch.cat([first, second])).all())


@pytest.mark.parametrize("count", [3, CHUNK + 5])
@pytest.mark.parametrize("ahead", [True, False])
def test_noise_is_added_in_place(count: int, ahead: bool) -> None:
    noise = filled(CipherNormals(KEY, ahead=ahead), count, scale=3.0)
    found = torch.ones(count)
    CipherNormals(KEY, ahead=ahead).blur(found, factor=0.5, scale=3.0)
    torch.testing.assert_close(found, 0.5 + noise)


def test_numbers_made_ahead_are_each_given_once_and_normal() -> None:
    normals = CipherNormals(KEY, ahead=True)
    found = torch.cat([filled(normals, 1000, dtype=dtype).double() for dtype in 70 * [torch.float32, torch.float64]])
    assert len(found.unique()) > 0.999 * len(found)
    assert kstest(found.numpy(), "norm").pvalue > 1e-4


def test_a_device_adds_its_noise_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_randomness, "PORTION", 300)
    found = torch.ones(1000)
    DeviceNormals(torch.Generator().manual_seed(0)).blur(found, factor=0.5, scale=3.0)
    assert len(found.unique()) == 1000
    assert kstest((found.numpy() - 0.5) / 3, "norm").pvalue > 1e-4


def test_without_a_seed_nothing_repeats_them_and_with_one_every_step_has_its_own() -> None:
    def noise(seed: int | None, step: int) -> float:
        return float(filled(Randomness(seed).noise(step=step, device=CPU), 1))

    def draw(seed: int | None, step: int) -> float:
        return float(Randomness(seed).draws(step=step).random())

    for one in (noise, draw):
        torch.manual_seed(0)
        np.random.seed(0)
        first = one(None, 0)
        torch.manual_seed(0)
        np.random.seed(0)
        assert one(None, 0) != first
        assert one(3, 1) == one(3, 1)
        assert len({one(3, 0), one(3, 1), one(4, 0)}) == 3
    fresh = Randomness(None)
    assert fresh.noise(step=0, device=CPU) is fresh.noise(step=1, device=CPU)


def test_torchs_generator_would_leave_32_bits_to_guess() -> None:
    """Why the noise has a source of its own; once this fails, there may be no more need of it."""
    one, other = (torch.randn(4, generator=torch.Generator().manual_seed(seed)) for seed in (7, 7 + 2**32))
    assert torch.equal(one, other)


def test_where_tensors_hold_nothing_torchs_own_operation_is_counted() -> None:
    normals = Randomness(0, simulated=True).noise(step=0, device=CPU)
    assert float(filled(normals, 5000, scale=3.0).std()) == pytest.approx(3.0, rel=0.1)
    found = torch.full((CHUNK + 100,), 8.0)
    normals.blur(found, factor=0.5, scale=3.0)
    assert float(found.mean()) == pytest.approx(4.0, abs=0.1)
    assert float(found.std()) == pytest.approx(3.0, rel=0.1)


@pytest.mark.parametrize("count", [FEW, FEW + 1])
def test_where_tensors_hold_nothing_as_much_memory_is_taken_and_kept(count: int) -> None:
    def taken(randomness: Randomness) -> int:
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
            for step in range(2):
                randomness.noise(step=step, device=CPU).blur(out, factor=1.0, scale=1.0)
        return sum(event.self_cpu_memory_usage for event in seen.key_averages())

    out = torch.zeros(count)
    real, rehearsed = Randomness(None), Randomness(0, simulated=True)
    assert taken(rehearsed) == taken(real) > 2 * 4 * CHUNK


def test_numbers_made_ahead_follow_the_size_that_is_asked_for() -> None:
    """Of the same ones: a clipping norm that moves does not throw away what is left."""
    key = bytes(16)
    fixed, moving = CipherNormals(key, ahead=True), CipherNormals(key, ahead=True)
    for scale in (1.0, 3.0, 0.5, 0.0, 2.0, 2.0):
        one, other = torch.zeros(100), torch.zeros(100)
        fixed.blur(one, factor=1.0, scale=1.0)
        moving.blur(other, factor=1.0, scale=scale)
        if scale == 0:
            # From nothing there is no way back to the numbers.
            assert not bool(other.any())
            break
        torch.testing.assert_close(other, scale * one)
    moving.blur(other, factor=1.0, scale=2.0)
    assert 1.4 < float(other.std()) < 2.8
