"""The linear classifier on wavelet coefficients."""

import cmath
import math

import pytest
import torch
from torch import Tensor

from steelyard.models import Scattering
from steelyard.models.scattering import Wavelets
from steelyard.problem import Refused


def drawn(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 16, 21)])
def test_it_gives_logits_and_learns_a_linear_layer_alone(shape):
    model = Scattering(input_shape=shape, classes=7, scales=2, angles=4, step=4)
    assert model(drawn(5, *shape)).shape == (5, 7)
    samples = math.ceil(shape[1] / 4) * math.ceil(shape[2] / 4)
    assert [*dict(model.named_parameters())] == ["layer.weight", "layer.bias"]
    assert model.layer.in_features == shape[0] * 9 * samples


def one_number(picture: Tensor, *, scale: int, angle: float, slant: float, step: int, row: int, column: int) -> float:
    """Of one sample, by sums over pixels."""
    deviation, frequency = 0.8 * 2**scale, 3 / 4 * math.pi / 2**scale
    reach, height, width = math.ceil(3 * deviation), *picture.shape
    offsets = [(v, u) for v in range(-reach, reach + 1) for u in range(-reach, reach + 1)]

    def bell_and_wave(v: int, u: int) -> tuple[float, complex]:
        along, across = u * math.cos(angle) + v * math.sin(angle), v * math.cos(angle) - u * math.sin(angle)
        bell = math.exp(-(along**2 + slant**2 * across**2) / (2 * deviation**2))
        return bell * slant / (2 * math.pi * deviation**2), cmath.exp(1j * frequency * along)

    values = {offset: bell_and_wave(*offset) for offset in offsets}
    mean = sum(bell * wave for bell, wave in values.values()) / sum(bell for bell, _ in values.values())
    total, weights = 0.0, 0.0
    for y in range(0, height, 2**scale):
        for x in range(0, width, 2**scale):
            found = 0j
            for (v, u), (bell, wave) in values.items():
                if 0 <= y + v < height and 0 <= x + u < width:
                    found += float(picture[y + v, x + u]) * bell * (wave - mean)
            weight = math.exp(-((y - row * step) ** 2 + (x - column * step) ** 2) / (2 * (0.8 * step) ** 2))
            total, weights = total + weight * abs(found), weights + weight
    return total / weights


@pytest.mark.parametrize("scale", [0, 1])
def test_each_number_is_what_sums_over_pixels_come_to(scale):
    picture = drawn(16, 17)
    maps = Wavelets(16, 17, scales=2, angles=3, step=4)(picture[None, None])[0]
    assert maps.shape == (7, 4, 5)
    for number, row, column in ((0, 0, 0), (1, 2, 4), (2, 3, 1)):
        angle = math.pi * number / 3
        slow = one_number(picture, scale=scale, angle=angle, slant=4 / 3, step=4, row=row, column=column)
        assert float(maps[1 + 3 * scale + number, row, column]) == pytest.approx(slow, rel=1e-4)


def test_the_first_map_is_the_blurred_picture():
    maps = Wavelets(18, 16, scales=1, angles=2, step=3)(torch.full((1, 2, 18, 16), 0.7))
    torch.testing.assert_close(maps[:, [0, 3]], torch.full((1, 2, 6, 6), 0.7))


def test_stripes_are_found_in_their_direction():
    stripes = torch.cos(0.75 * math.pi * torch.arange(32.0)).expand(32, 32)
    wavelets = Wavelets(32, 32, scales=1, angles=4, step=2)
    upright, lying = wavelets(stripes[None, None])[0], wavelets(stripes.T[None, None])[0]
    assert upright[1:].mean(dim=(1, 2)).argmax() == 0
    torch.testing.assert_close(lying[3], upright[1].T)


def test_channels_come_one_after_the_other_and_examples_are_not_mixed():
    wavelets, pictures = Wavelets(16, 16, scales=2, angles=2, step=2), drawn(3, 2, 16, 16)
    whole = wavelets(pictures)
    parts = [torch.cat([wavelets(picture[None, [channel]]) for channel in (0, 1)], dim=1) for picture in pictures]
    torch.testing.assert_close(whole, torch.cat(parts))
    model = Scattering(input_shape=(2, 16, 16), classes=3)
    torch.testing.assert_close(model(pictures), torch.cat([model(picture[None]) for picture in pictures]))


def test_contrast_does_not_matter():
    model, pictures = Scattering(input_shape=(1, 20, 20), classes=3), drawn(2, 1, 20, 20)
    torch.testing.assert_close(model(255 * pictures), model(10 * pictures), rtol=0.01, atol=0.001)


def test_no_examples_have_no_logits():
    assert Scattering(input_shape=(2, 16, 16), classes=3)(drawn(0, 2, 16, 16)).shape == (0, 3)


def test_a_blank_picture_has_a_gradient():
    blank = torch.zeros(1, 1, 16, 16, requires_grad=True)
    Scattering(input_shape=(1, 16, 16), classes=2)(blank).sum().backward()
    assert blank.grad is not None
    assert blank.grad.isfinite().all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"input_shape": (1, 8, 8)}, "16 pixels at least"),
        ({"input_shape": (28, 28)}, "16 pixels at least"),
        ({"scales": 0}, r"model\.scales is 0, must be from 1 to 3"),
        ({"scales": 4}, r"model\.scales is 4, must be from 1 to 3"),
        ({"angles": 0}, r"model\.angles is 0, must be at least 1"),
        ({"step": 9}, r"model\.step is 9, must be from 1 to 8"),
    ],
)
def test_what_it_cannot_be_is_refused(options, words):
    with pytest.raises(Refused, match=words) as caught:
        Scattering(**{"input_shape": (1, 28, 28), "classes": 10, **options})
    assert caught.value.problems[0].fix.startswith("model")
