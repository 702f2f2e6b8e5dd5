import pytest
import torch

from steelyard.data import Motion
from steelyard.data.motion import KINDS
from steelyard.problem import Refused


def shown(videos):
    """Where the shape is: it is brighter than the noise can be."""
    return (videos > 0.45).float()[:, :, 0]


def ruled(videos):
    """The kind of motion by rules: which shift makes the second frame of the first, and how the area changes."""
    shape = shown(videos)
    area = shape.sum(dim=(2, 3))
    grown = area[:, -1] / area[:, 0]
    first, later = (torch.fft.fft2(shape[:, frame]) for frame in (0, 2))
    overlap = torch.fft.ifft2(later * first.conj()).real
    place = overlap.flatten(1).argmax(dim=1)
    down, right = ((shift + 16) % 32 - 16 for shift in (place // 32, place % 32))
    moved = torch.where(right.abs() > down.abs(), torch.where(right > 0, 0, 1), torch.where(down > 0, 2, 3))
    return torch.where(grown > 1.15, 4, torch.where(grown < 1 / 1.15, 5, moved))


@pytest.fixture(scope="module")
def data():
    return Motion(videos=600)


def test_videos_are_frames_of_pixels_between_0_and_1(data):
    inputs, targets = next(iter(data.train_dataloader()))
    assert inputs.shape == (64, 8, 1, 32, 32)
    assert (inputs.dtype, targets.dtype) == (torch.float32, torch.int64)
    assert 0 <= float(inputs.min()) < float(inputs.max()) <= 1
    assert data.sizes == {"input_shape": (8, 1, 32, 32), "classes": 6, "mean": 0.25, "std": 0.25}
    assert (data.modality, data.bounds, data.names) == ("video", (0.0, 1.0), KINDS)


def test_the_class_is_what_the_shape_does(data):
    videos = data.corpus.inputs.float() / 255
    assert float((ruled(videos) == data.corpus.targets).float().mean()) > 0.99


def test_time_turned_round_turns_the_class_round(data):
    videos = (data.corpus.inputs.float() / 255).flip(1)
    opposite = torch.tensor([1, 0, 3, 2, 5, 4])[data.corpus.targets]
    assert float((ruled(videos) == opposite).float().mean()) > 0.99


@pytest.mark.parametrize("frame", [0, 7])
def test_no_frame_tells_the_direction_alone(data, frame):
    """Where the shape stands, and how large it is, is alike for right and left, and for down and up."""
    shape = shown(data.corpus.inputs.float() / 255)[:, frame]
    area = shape.sum(dim=(1, 2))
    # On a torus a place is an angle.
    turns = torch.exp(2j * torch.pi * torch.arange(32) / 32)
    across = (shape.sum(dim=1) * turns).sum(dim=1) / area
    along = (shape.sum(dim=2) * turns).sum(dim=1) / area
    for one, other in ((0, 1), (2, 3)):
        for what in (area, across.real, across.imag, along.real, along.imag):
            groups = [what[data.corpus.targets == kind] for kind in (one, other)]
            gap = groups[0].mean() - groups[1].mean()
            error = (groups[0].var() / len(groups[0]) + groups[1].var() / len(groups[1])).sqrt()
            assert abs(float(gap / error)) < 3.5


def test_the_content_seed_decides_the_videos_and_the_split_seed_does_not(data):
    prints = [Motion(videos=60, **options).fingerprint() for options in ({}, {"split_seed": 5}, {"content_seed": 1})]
    assert prints[0] == prints[1] != prints[2]
    counts = torch.bincount(data.corpus.targets).tolist()
    assert counts == [100] * 6


def test_no_videos_are_refused():
    with pytest.raises(Refused, match=r"data\.videos is 0") as caught:
        Motion(videos=0)
    assert caught.value.problems[0].fix == "data.videos=3000"
