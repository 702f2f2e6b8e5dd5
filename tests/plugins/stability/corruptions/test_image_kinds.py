import math

import numpy as np
import pytest
import torch
from torch import Tensor

from steelyard_stability.corruptions import _blurs, _digital, _noises, _weather
from steelyard_stability.corruptions._dice import Dice
from steelyard_stability.corruptions._plasma import plasma
from steelyard_stability.corruptions._resampling import gaussian, mirrored, zoomed
from steelyard_stability.corruptions.kinds import IMAGE

KINDS = {kind: vars(one)[kind] for one in (_noises, _blurs, _weather, _digital) for kind in IMAGE if kind in vars(one)}


def damaged(kind: str, images: Tensor, severity: int, *, numbers: list[int] | None = None, seed: int = 0) -> Tensor:
    dice = Dice(seed, kind=kind, severity=severity, numbers=numbers or [*range(len(images))])
    return KINDS[kind](images, severity, dice).clamp(0, 1)


def pictures(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def test_all_kinds_are_there() -> None:
    assert tuple(sorted(KINDS)) == tuple(sorted(IMAGE))
    assert len(IMAGE) == 15


@pytest.mark.parametrize("kind", IMAGE)
@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (2, 3, 7, 5), (1, 4, 9, 16), (1, 1, 1, 1), (1, 3, 33, 40)])
def test_any_size_and_number_of_channels(kind: str, shape: tuple[int, ...]) -> None:
    images = pictures(*shape)
    kept = images.clone()

    for severity in (1, 5):
        found = damaged(kind, images, severity)
        assert found.shape == images.shape
        assert bool(torch.isfinite(found).all())
    assert torch.equal(images, kept)


@pytest.mark.parametrize("kind", IMAGE)
@pytest.mark.parametrize("size", [12, 64])
def test_the_bytes_of_an_example_do_not_depend_on_its_batch(kind: str, size: int) -> None:
    images = pictures(5, 3, size, size)

    whole = damaged(kind, images, 5)
    single = [damaged(kind, images[at : at + 1], 5, numbers=[at]) for at in range(5)]
    halves = [damaged(kind, images[[4, 2]], 5, numbers=[4, 2])]

    assert torch.equal(whole, torch.cat(single))
    assert torch.equal(whole[[4, 2]], torch.cat(halves))


@pytest.mark.parametrize("kind", IMAGE)
def test_black_and_white_pictures_stay_finite(kind: str) -> None:
    for value in (0.0, 1.0):
        assert bool(torch.isfinite(damaged(kind, torch.full((1, 3, 12, 12), value), 3)).all())


@pytest.mark.parametrize("kind", ["snow", "frost", "fog", "brightness", "contrast", "jpeg_compression"])
def test_alpha_is_no_colour(kind: str) -> None:
    images = pictures(2, 4, 16, 16)

    assert torch.equal(damaged(kind, images, 5)[:, 3], images[:, 3])


def test_seed_kind_severity_and_place_all_count() -> None:
    images = pictures(2, 1, 8, 8)
    first = damaged("gaussian_noise", images, 1) - images

    assert not torch.equal(first, damaged("gaussian_noise", images, 1, seed=1) - images)
    assert not torch.equal(first[0], first[1])
    one = Dice(0, kind="snow", severity=1, numbers=[3]).normal(4)
    assert not torch.equal(one, Dice(0, kind="fog", severity=1, numbers=[3]).normal(4))
    assert not torch.equal(one, Dice(0, kind="snow", severity=2, numbers=[3]).normal(4))


def test_gaussian_noise_has_the_published_deviation() -> None:
    images = torch.full((4, 1, 100, 100), 0.5)

    found = KINDS["gaussian_noise"](images, 3, Dice(0, kind="gaussian_noise", severity=3, numbers=range(4)))

    assert float(found.std()) == pytest.approx(0.18, rel=0.02)
    assert float(found.mean()) == pytest.approx(0.5, abs=0.004)


def test_shot_noise_is_poisson() -> None:
    images = torch.full((4, 1, 100, 100), 0.4)

    found = KINDS["shot_noise"](images, 4, Dice(0, kind="shot_noise", severity=4, numbers=range(4)))

    assert float(found.mean()) == pytest.approx(0.4, rel=0.02)
    assert float(found.var()) == pytest.approx(0.4 / 5, rel=0.03)
    assert torch.equal((found * 5).round(), (found * 5 + 1e-4).floor())


def test_impulse_noise_loses_the_published_share() -> None:
    found = damaged("impulse_noise", torch.full((4, 1, 100, 100), 0.5), 5)

    assert float((found == 1).double().mean()) == pytest.approx(0.135, abs=0.006)
    assert float((found == 0).double().mean()) == pytest.approx(0.135, abs=0.006)


def test_contrast_moves_towards_the_mean() -> None:
    images = pictures(3, 3, 20, 20)
    means = images.mean(dim=(2, 3), keepdim=True)

    torch.testing.assert_close(damaged("contrast", images, 2), (images - means) * 0.3 + means)


def test_brightness_raises_the_value_and_keeps_hue_and_saturation() -> None:
    import colorsys

    images = pictures(1, 3, 4, 4)
    found = damaged("brightness", images, 3)

    for before, after in zip(images[0].flatten(1).T.tolist(), found[0].flatten(1).T.tolist(), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*before)
        assert after == pytest.approx(colorsys.hsv_to_rgb(hue, saturation, min(value + 0.3, 1)), abs=1e-5)


def test_grey_gets_brighter_by_the_step() -> None:
    torch.testing.assert_close(damaged("brightness", torch.full((1, 1, 8, 8), 0.2), 1), torch.full((1, 1, 8, 8), 0.3))


def test_pixelate_of_half_the_size_gives_means_of_four() -> None:
    images = pictures(1, 1, 8, 8)

    found = damaged("pixelate", images, 2)

    means = torch.nn.functional.avg_pool2d(images, 2)
    torch.testing.assert_close(found, means.repeat_interleave(2, 2).repeat_interleave(2, 3))


@pytest.mark.parametrize("kind", ["defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "elastic_transform"])
def test_a_blur_leaves_a_flat_picture_alone(kind: str) -> None:
    images = torch.full((2, 3, 30, 30), 0.25)

    torch.testing.assert_close(damaged(kind, images, 5), images)


def test_glass_only_moves_pixels() -> None:
    # Without its two blurs it is a permutation.
    flat = torch.arange(100.0).reshape(1, 1, 100)
    partners = Dice(0, kind="x", severity=1, numbers=[0]).whole(10, 10, low=0, high=99)

    _blurs._trade(flat, partners, apart=200)

    assert sorted(flat.flatten().tolist()) == [*range(100)]


def test_the_disc_is_round_and_sums_to_one() -> None:
    disc = _blurs.disc(6, alias=0.1)

    middle = disc.shape[0] // 2
    assert float(disc.sum()) == pytest.approx(1)
    assert float(disc[middle, middle]) == pytest.approx(1 / 113, rel=0.01)  # pixels within a distance of 6
    assert torch.equal(disc, disc.T)
    assert float(disc[middle, middle + 7]) < 1e-6


def test_motion_leaves_a_trail_along_its_direction() -> None:
    dot = torch.zeros(1, 1, 224, 224)
    dot[0, 0, 112, 112] = 1

    found = damaged("motion_blur", dot, 3)

    rows, columns = torch.nonzero(found[0, 0], as_tuple=True)
    angle = math.degrees(math.atan2(float(rows[-1] - rows[0]), float(columns[-1] - columns[0])))
    assert -45 <= ((angle + 90) % 180) - 90 <= 45
    assert float(found.sum()) == pytest.approx(1, abs=1e-4)


def test_plasma_fills_the_range_and_follows_the_slow_algorithm() -> None:
    found = plasma(Dice(0, kind="fog", severity=1, numbers=[0, 1]), height=16, width=16, decay=2.0)
    assert found.amin(dim=(1, 2, 3)).tolist() == [0, 0]
    assert found.amax(dim=(1, 2, 3)).tolist() == [1, 1]

    dice = Dice(0, kind="fog", severity=1, numbers=[0])
    land, step, rough = np.zeros((16, 16)), 16, 100.0
    while step >= 2:
        half, count = step // 2, 16 // step
        shake = rough * dice.uniform(count, count, low=-rough, high=rough)[0].double().numpy()
        for r in range(count):
            for c in range(count):
                y, x = r * step, c * step
                corners = land[y, x] + land[(y + step) % 16, x] + land[y, (x + step) % 16]
                land[y + half, x + half] = (corners + land[(y + step) % 16, (x + step) % 16]) / 4 + shake[r, c]
        east = rough * dice.uniform(count, count, low=-rough, high=rough)[0].double().numpy()
        down = rough * dice.uniform(count, count, low=-rough, high=rough)[0].double().numpy()
        for r in range(count):
            for c in range(count):
                y, x = r * step, c * step
                around = land[y, x] + land[y, (x + step) % 16] + land[y + half, x + half]
                land[y, x + half] = (around + land[(y - half) % 16, x + half]) / 4 + east[r, c]
                around = land[y, x] + land[(y + step) % 16, x] + land[y + half, x + half]
                land[y + half, x] = (around + land[y + half, (x - half) % 16]) / 4 + down[r, c]
        step, rough = half, rough / 2.0
    land -= land.min()
    np.testing.assert_allclose(found[0, 0].numpy(), land / land.max(), atol=1e-5)


def test_a_gaussian_is_the_one_of_scipy() -> None:
    from scipy.ndimage import gaussian_filter

    images = pictures(1, 1, 20, 30)

    wanted = gaussian_filter(images[0, 0].double().numpy(), 1.7, mode="nearest", truncate=4)
    np.testing.assert_allclose(gaussian(images, 1.7)[0, 0].numpy(), wanted, atol=1e-5)


def test_a_zoom_is_the_one_of_scipy() -> None:
    from scipy.ndimage import zoom

    images = pictures(1, 1, 40, 40)

    part = math.ceil(40 / 1.3)
    start = (40 - part) // 2
    wanted = zoom(images[0, 0, start : start + part, start : start + part].double().numpy(), 1.3, order=1)[:40, :40]
    np.testing.assert_allclose(zoomed(images, 1.3)[0, 0].numpy(), wanted, atol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_mirrored_places_are_those_of_numpy(size: int) -> None:
    wanted = np.pad(np.arange(size), 7, mode="reflect")

    assert mirrored(torch.arange(-7, size + 7), size).tolist() == wanted.tolist()
