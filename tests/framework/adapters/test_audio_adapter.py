import io

import numpy as np
import pytest
import torch
from PIL import Image

from steelyard.adapters import AudioAdapter, Facts, adapter_for
from steelyard.adapters._sound_drawing import by_window, decibels

SOUNDS = adapter_for("audio", facts=Facts(bounds=(-1.0, 1.0), sample_rate=8000))


def drawn(adapter, samples, attributions):
    png = adapter.draw((samples, torch.zeros(len(samples))), attributions, titles=["a $b$"] * len(samples))
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def colours(pixels):
    red = (pixels[..., 0] > pixels[..., 2] + 60).sum()
    blue = (pixels[..., 2] > pixels[..., 0] + 60).sum()
    return int(red), int(blue)


@pytest.mark.parametrize(("rate", "window"), [(8000, 320), (16000, 640), (22050, 882)])
def test_a_unit_is_a_window_of_forty_milliseconds(rate, window):
    adapter = adapter_for("audio", facts=Facts(sample_rate=rate))
    assert isinstance(adapter, AudioAdapter)
    found = adapter.features(torch.zeros(2, 3 * window + 5))
    assert found.tolist() == [at // window for at in range(3 * window + 5)]


def test_without_a_rate_an_example_is_cut_into_windows():
    adapter = adapter_for("audio")
    assert adapter.features(torch.zeros(2, 1000)).unique().tolist() == list(range(25))
    assert adapter.features(torch.zeros(2, 7)).tolist() == list(range(7))
    assert drawn(adapter, torch.rand(1, 1000), torch.randn(1, 1000)).size


def test_windows_sum_their_samples():
    values = torch.arange(14.0).reshape(2, 7)
    assert by_window(values, window=3).tolist() == [[3.0, 12.0, 6.0], [24.0, 33.0, 13.0]]


def test_the_spectrogram_is_loudest_at_the_tone():
    time = torch.arange(8000) / 8000
    levels = decibels((2 * torch.pi * 1000 * time).sin(), length=160)
    # 160 samples at 8,000 a second: bins of 50 Hz.
    assert levels.shape[0] == 81
    assert levels[:, 5:-5].argmax(dim=0).unique().tolist() == [20]
    assert levels.max() == 0


@pytest.mark.parametrize("count", [1, 2, 5])
def test_every_sound_has_two_panels(count):
    pixels = drawn(SOUNDS, torch.rand(count, 8000) - 0.5, torch.randn(count, 8000))
    assert pixels.shape == (280 * -(-count // 2), 270 * min(2, count), 3)
    red, blue = colours(pixels)
    assert red > 100
    assert blue > 100


def test_the_sign_is_drawn_and_one_scale_serves_all():
    samples, attributions = torch.rand(2, 8000) - 0.5, torch.zeros(2, 8000)
    attributions[:, 3200:4800] = torch.tensor([[1.0], [0.25]])
    pixels = drawn(SOUNDS, samples, attributions)
    (left, blue), (right, _) = colours(pixels[:, :270]), colours(pixels[:, 270:])
    assert blue == 0
    assert left / right == pytest.approx(4, rel=0.2)
    red, blue = colours(drawn(SOUNDS, samples, -attributions))
    assert red == 0
    assert blue > 0


def test_an_attribution_that_says_nothing_is_grey():
    samples = torch.rand(1, 8000) - 0.5
    plain = drawn(SOUNDS, samples, torch.randn(1, 8000, generator=torch.Generator().manual_seed(0)))
    for nothing in (torch.zeros(1, 8000), torch.full((1, 8000), torch.nan)):
        pixels = drawn(SOUNDS, samples, nothing)
        assert colours(pixels) == (0, 0)
        grey = (pixels == 191).all(axis=-1).sum()
        assert grey > (plain == 191).all(axis=-1).sum() + 5000


def test_silence_can_be_drawn():
    assert drawn(SOUNDS, torch.zeros(1, 8000), torch.zeros(1, 8000)).size
