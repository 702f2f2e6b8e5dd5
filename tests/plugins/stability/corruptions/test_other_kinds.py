import math

import pytest
import torch
from torch import Tensor

from steelyard_stability.corruptions import _audio, _table, _video
from steelyard_stability.corruptions._dice import Dice
from steelyard_stability.corruptions._table import Columns
from steelyard_stability.corruptions.kinds import KINDS

SOUNDS = KINDS["audio"]


def sounds(count: int = 3, length: int = 4000) -> Tensor:
    return 0.2 * torch.randn(count, length, generator=torch.Generator().manual_seed(0))


def heard(kind: str, samples: Tensor, severity: int, *, numbers: list[int] | None = None, rate: int = 8000) -> Tensor:
    dice = Dice(0, kind=kind, severity=severity, numbers=numbers or [*range(len(samples))])
    return vars(_audio)[kind](samples, severity, dice, rate=rate)


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_the_ratio_of_noise_is_exact(severity: int) -> None:
    samples = sounds()
    noise = heard("noise", samples, severity) - samples

    decibels = 10 * torch.log10(samples.square().mean(dim=1) / noise.square().mean(dim=1))
    assert decibels.tolist() == pytest.approx([_audio.SNR[severity - 1]] * 3, abs=0.01)


@pytest.mark.parametrize("kind", SOUNDS)
def test_silence_stays_silent_and_any_length_is_heard(kind: str) -> None:
    for length in (1, 2, 7, 100):
        silent = heard(kind, torch.zeros(2, length), 5)
        assert torch.equal(silent, torch.zeros(2, length))
        assert bool(torch.isfinite(heard(kind, sounds(2, length), 5)).all())


@pytest.mark.parametrize("kind", SOUNDS)
def test_the_bytes_of_a_sound_do_not_depend_on_its_batch(kind: str) -> None:
    samples = sounds(5, 1001)
    single = [heard(kind, samples[at : at + 1], 3, numbers=[at]) for at in range(5)]

    assert torch.equal(heard(kind, samples, 3), torch.cat(single))


def test_gain_is_a_level_and_never_clips() -> None:
    samples = sounds()
    ratios = heard("gain", samples, 3) / samples

    for row in ratios:
        assert float(row.std()) < 1e-4
        assert abs(20 * math.log10(float(row[0]))) == pytest.approx(10, abs=0.01)
    loud = 0.9 * torch.sign(sounds())
    assert bool((heard("gain", loud, 5).abs() <= 1).all())


def test_clipping_cuts_at_a_share_of_the_highest_sample() -> None:
    samples = sounds()

    found = heard("clipping", samples, 3)

    torch.testing.assert_close(found.abs().amax(dim=1), 0.3 * samples.abs().amax(dim=1))
    inside = samples.abs() < 0.3 * samples.abs().amax(dim=1, keepdim=True)
    assert torch.equal(found[inside], samples[inside])


def test_above_the_band_there_is_nothing_and_below_it_nothing_changes() -> None:
    samples = sounds()
    before, after = torch.fft.rfft(samples), torch.fft.rfft(heard("band_limit", samples, 2))

    edge = int(0.35 * 2000)
    torch.testing.assert_close(after[:, : edge + 1], before[:, : edge + 1], atol=1e-3, rtol=1e-3)
    assert float(after[:, edge + 1 :].abs().max()) < 1e-3


def test_a_shift_moves_by_its_share_of_the_length() -> None:
    samples = sounds()
    found = heard("shift", samples, 3)

    for before, after in zip(samples, found, strict=True):
        later = torch.equal(after[400:], before[:-400]) and not bool(after[:400].any())
        earlier = torch.equal(after[:-400], before[400:]) and not bool(after[-400:].any())
        assert later or earlier


def test_an_echo_falls_by_sixty_decibels_in_its_time_and_keeps_the_power() -> None:
    click = torch.zeros(64, 8000)
    click[:, 0] = 1

    found = heard("reverberation", click, 2)

    torch.testing.assert_close(found.square().sum(dim=1), click.square().sum(dim=1))
    power = found[:, 1:].square().mean(dim=0)
    early, late = power[:80].mean(), power[800:880].mean()
    # 0.1 of the 0.2 s: half of the 60 dB.
    assert 10 * math.log10(float(early / late)) == pytest.approx(30, abs=1.5)


COLUMNS = Columns(mean=torch.tensor([1.0, -2.0, 0.0, 5.0]), deviation=torch.tensor([0.1, 10.0, 1.0, 0.0]))


def table(kind: str, rows: Tensor, severity: int) -> Tensor:
    dice = Dice(0, kind=kind, severity=severity, numbers=range(len(rows)))
    return vars(_table)[kind](rows, severity, dice, columns=COLUMNS)


def test_jitter_is_in_deviations_of_the_column() -> None:
    rows = COLUMNS.mean.expand(4000, 4)

    spread = (table("jitter", rows, 3) - rows).std(dim=0)

    assert spread.tolist() == pytest.approx([0.02, 2.0, 0.2, 0.0], rel=0.05)


@pytest.mark.parametrize(("severity", "lost"), [(1, 1), (3, 1), (5, 2)])
def test_missing_values_are_replaced_by_the_mean(severity: int, lost: int) -> None:
    rows = torch.full((50, 4), 77.0)

    found = table("missing", rows, severity)

    assert (found != 77).sum(dim=1).tolist() == [lost] * 50
    assert torch.equal(found[found != 77], COLUMNS.mean.expand(50, 4)[found != 77])
    assert bool((found != 77).any(dim=0).all())


def test_a_unit_slip_hits_one_column() -> None:
    rows = torch.full((50, 4), 3.0)

    found = table("unit_slip", rows, 4)

    assert (found != 3).sum(dim=1).tolist() == [1] * 50
    assert set(found[found != 3].tolist()) == {30.0}


def numbered(frames: int) -> Tensor:
    return torch.arange(float(frames))[None, :, None, None, None].expand(20, frames, 1, 2, 2)


def shown(kind: str, frames: int, severity: int) -> Tensor:
    dice = Dice(0, kind=kind, severity=severity, numbers=range(20))
    return vars(_video)[kind](numbered(frames), severity, dice)[:, :, 0, 0, 0]


def test_a_lost_frame_leaves_the_last_one_on_the_screen() -> None:
    found = shown("frame_drop", 10, 3)

    lost = found != torch.arange(10.0)
    assert lost.sum(dim=1).tolist() == [3] * 20
    assert not bool(lost[:, 0].any())
    for row, gone in zip(found, lost, strict=True):
        for at in range(1, 10):
            assert float(row[at]) == (float(row[at - 1]) if gone[at] else at)


def test_frames_out_of_order_are_all_there_and_near_their_place() -> None:
    found = shown("frame_order", 16, 3)

    assert torch.equal(found.sort(dim=1).values, torch.arange(16.0).expand(20, 16))
    assert int((found - torch.arange(16.0)).abs().max()) <= 3
    assert bool((found != torch.arange(16.0)).any())


@pytest.mark.parametrize("kind", ["frame_drop", "frame_order"])
def test_a_single_frame_stays(kind: str) -> None:
    assert torch.equal(shown(kind, 1, 5), torch.zeros(20, 1))
