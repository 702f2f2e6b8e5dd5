import io

import numpy as np
import pytest
import torch
from PIL import Image

from steelyard.adapters import Facts, adapter_for
from steelyard.adapters.video import key_frames

VIDEOS = adapter_for("video", facts=Facts(bounds=(0.0, 1.0)))


def drawn(videos, attributions):
    batch = (videos, torch.zeros(len(videos)))
    return VIDEOS.draw(batch, attributions, titles=[f"video {number}" for number in range(len(videos))])


@pytest.mark.parametrize(("height", "width"), [(32, 32), (30, 17), (4, 6), (224, 224)])
def test_a_unit_is_a_square_block_of_one_frame_across_its_channels(height, width):
    found = VIDEOS.features(torch.zeros(2, 3, 2, height, width))
    side = -(-max(height, width) // 8)
    rows, columns = -(-height // side), -(-width // side)
    assert found.shape == (3, 2, height, width)
    assert found.unique().tolist() == list(range(3 * rows * columns))
    for frame, channel, row, column in [(0, 0, 0, 0), (2, 1, height - 1, width - 1), (1, 0, height // 2, width // 3)]:
        by_hand = (frame * rows + row // side) * columns + column // side
        assert int(found[frame, channel, row, column]) == by_hand


def test_key_frames_are_the_ones_that_count_most_in_order_of_time():
    attributions = torch.zeros(2, 6, 4, 4)
    attributions[0, 5, 0, 0], attributions[0, 1, 3, 3], attributions[0, 2, 1, 1] = 3.0, -5.0, 1.0
    attributions[1, 4] = float("nan")
    assert key_frames(attributions, count=2).tolist() == [[1, 5], [0, 1]]
    assert key_frames(attributions, count=3)[0].tolist() == [1, 2, 5]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("frames", [1, 3, 8])
def test_the_picture_has_a_band_for_each_video_and_a_column_for_each_key_frame(channels, frames):
    shape = (3, frames, channels, 20, 12)
    png = drawn(torch.rand(shape), torch.randn(shape))
    width, height = Image.open(io.BytesIO(png)).size
    assert (height, width) == (400 * 3 + 60, 170 * min(3, frames))


def test_a_block_shows_the_sum_of_its_pixels():
    videos, attributions = torch.zeros(1, 1, 1, 16, 16), torch.zeros(1, 1, 1, 16, 16)
    # Blocks of 2x2: one with two halves, one where two pixels cancel out.
    attributions[0, 0, 0, 0, :2] = 0.5
    attributions[0, 0, 0, 8, 8:10] = torch.tensor([1.0, -1.0])
    pixels = np.asarray(Image.open(io.BytesIO(drawn(videos, attributions))).convert("RGB")).astype(int)
    tile = pixels[260:, :170]
    dark = (tile[..., 0] > tile[..., 2] + 60).sum()
    blue = (tile[..., 2] > tile[..., 0] + 60).sum()
    square = (tile.min(axis=-1) < 255).sum() / 64
    assert dark == pytest.approx(square, rel=0.5)
    assert blue == 0


def test_an_attribution_without_a_number_is_grey():
    videos = torch.zeros(1, 2, 1, 8, 8)
    for nothing in (0.0, float("nan")):
        pixels = np.asarray(Image.open(io.BytesIO(drawn(videos, torch.full_like(videos, nothing)))).convert("RGB"))
        assert (pixels[260:, :] == 191).all(axis=-1).sum() > 10_000
