import io
from inspect import signature

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib import pyplot
from PIL import Image
from pytorch_lightning import LightningModule
from torch.nn.functional import cross_entropy

from steelyard.adapters import (
    IGNORED,
    MODALITIES,
    Adapter,
    ClassScoring,
    DetectionScoring,
    Facts,
    ImageAdapter,
    TokenScoring,
    adapter_for,
)
from steelyard.problem import Refused

IMAGES = adapter_for("image", facts=Facts(bounds=(0.0, 1.0)))
ROWS = adapter_for("table", facts=Facts(columns=("age", "height", "weight")))


def decoded(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def spread(pixels):
    """Difference between the channels: 0 is grey."""
    return pixels.max(axis=-1) - pixels.min(axis=-1)


@pytest.mark.parametrize("modality", MODALITIES)
def test_the_factory_knows_every_modality(modality):
    adapter = adapter_for(modality, facts=Facts(bounds=(0.0, 1.0)))
    assert adapter.modality == modality
    assert adapter.bounds == (0.0, 1.0)
    assert isinstance(adapter, Adapter)
    assert isinstance(adapter.scoring, DetectionScoring if modality == "detection" else ClassScoring)


@pytest.mark.parametrize("modality", MODALITIES)
def test_every_adapter_may_be_told_the_decisions_when_it_draws(modality):
    assert signature(type(adapter_for(modality)).draw).parameters["decisions"].default is None


@pytest.mark.parametrize(
    ("asked", "meant"), [("imgae", "image"), ("tables", "table"), ("sounds", "image"), (None, "image")]
)
def test_an_unknown_modality_is_refused_with_the_known_ones(asked, meant):
    with pytest.raises(Refused, match=rf"known: {', '.join(MODALITIES)}; .*task\.adapter\._target_") as caught:
        adapter_for(asked)
    assert caught.value.problems[0].fix == f"task.modality={meant}"


TASK = LightningModule()
NONE = torch.zeros(0)
"""Targets are not drawn."""


def test_a_pixel_is_one_feature_across_its_channels():
    features = IMAGES.features(torch.zeros(7, 3, 4, 5))
    assert features.shape == (3, 4, 5)
    assert features.unique().tolist() == list(range(20))
    assert (features == features[0]).all()
    assert features[0, 1, 2] == 7


def test_a_column_is_one_feature():
    assert ROWS.features(torch.zeros(7, 4)).tolist() == [0, 1, 2, 3]


def test_batches_are_read_and_replaced_without_being_changed():
    inputs, targets, other = torch.rand(2, 1, 3, 3), torch.tensor([0, 1]), torch.rand(2, 1, 3, 3)
    mapping = {"inputs": inputs, "targets": targets, "id": [5, 6]}
    for batch in ((inputs, targets), [inputs, targets], mapping):
        assert IMAGES.inputs(TASK, batch) is inputs
        assert IMAGES.targets(batch) is targets
        assert IMAGES.inputs(TASK, IMAGES.replace(batch, other)) is other
        assert IMAGES.size(batch) == 2
        assert torch.equal(IMAGES.inputs(TASK, IMAGES.take(batch, torch.tensor([1, 0, 1]))), inputs[[1, 0, 1]])
        assert IMAGES.targets(IMAGES.replace(batch, other)) is targets
        assert IMAGES.inputs(TASK, batch) is inputs
    assert IMAGES.replace(mapping, other)["id"] == [5, 6]
    named = ImageAdapter(scoring=ClassScoring(), bounds=None, fields=("pixels", "label"))
    assert named.inputs(TASK, {"pixels": inputs, "label": targets}) is inputs


def test_clip_keeps_the_raw_range_where_there_is_one():
    wild = torch.tensor([[-1.0, 0.5, 2.0]])
    assert IMAGES.clip(wild).tolist() == [[0.0, 0.5, 1.0]]
    assert ROWS.clip(wild) is wild


def test_class_scoring_is_softmax_and_cross_entropy():
    logits, targets = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 3, 0, 1])
    scoring = ClassScoring()
    decisions = scoring.decisions(logits, targets)
    assert scoring.marks(decisions, targets).tolist() == [
        float(one == other) for one, other in zip(decisions, targets, strict=True)
    ]
    assert scoring.same(decisions, decisions).all()
    assert decisions.tolist() == [row.index(max(row)) for row in logits.tolist()]
    torch.testing.assert_close(scoring.scores(logits, decisions), logits.max(dim=1).values)
    torch.testing.assert_close(scoring.probabilities(logits, targets).log(), -scoring.losses(logits, targets))
    torch.testing.assert_close(scoring.losses(logits, targets).mean(), cross_entropy(logits, targets))


def test_token_scoring_is_one_sequence_at_a_time():
    logits = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[1, 2, 3, IGNORED, IGNORED], [6, 0, 0, 0, 0], [2, IGNORED, IGNORED, IGNORED, IGNORED]])
    scoring = TokenScoring()
    decisions = scoring.decisions(logits, targets)
    losses, marks = scoring.losses(logits, targets), scoring.marks(decisions, targets)
    scores, chances = scoring.scores(logits, decisions), scoring.probabilities(logits, decisions)
    for row, length in enumerate((3, 5, 1)):
        some, wanted = logits[row, :length], targets[row, :length]
        best = some.argmax(1)
        assert decisions[row].tolist() == [*best.tolist(), *[IGNORED] * (5 - length)]
        torch.testing.assert_close(losses[row], cross_entropy(some, wanted))
        assert marks[row] == pytest.approx(float((best == wanted).double().mean()))
        torch.testing.assert_close(scores[row], some.max(1).values.mean())
        torch.testing.assert_close(chances[row].log(), some.log_softmax(1).max(1).values.mean())
    other = decisions.clone()
    other[1, 4] += 1
    assert scoring.same(decisions, other).tolist() == [True, False, True]


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 5])
def test_the_picture_of_images_has_a_column_for_each(channels, count):
    inputs = torch.rand(count, channels, 8, 8)
    png = IMAGES.draw(
        (inputs, NONE), torch.randn(count, channels, 8, 8), titles=[f"{n} $\\frac$" for n in range(count)]
    )
    assert png.startswith(b"\x89PNG")
    bands, columns = -(-count // 3), min(3, count)
    assert decoded(png).shape == (400 * bands + 60, 170 * columns, 3)


def test_the_same_attribution_has_the_same_colour_in_every_tile():
    inputs = torch.zeros(2, 1, 2, 2)
    attributions = torch.tensor([[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 4.0]]).reshape(2, 1, 2, 2)
    pixels = decoded(IMAGES.draw((inputs, NONE), attributions, titles=["a", "b"]))
    colours, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    red = [(tuple(colour), n) for colour, n in zip(colours, counts, strict=True) if colour[0] > colour[2] + 20]
    commonest, area = max(red, key=lambda pair: pair[1])
    # Seven of the eight pixels share one pale red, the one of 4 is the darkest of the map.
    assert area > 6 * max(n for colour, n in red if colour != commonest and colour[0] < 150)


def test_for_is_red_and_against_is_blue():
    for sign, channel in ((1, 0), (-1, 2)):
        pixels = decoded(IMAGES.draw((torch.zeros(1, 1, 4, 4), NONE), sign * torch.ones(1, 1, 4, 4), titles=[""]))
        tile = pixels[290:430, 20:150][spread(pixels[290:430, 20:150]) > 60]
        assert len(tile) > 1000
        assert (tile.argmax(axis=1) == channel).mean() > 0.99


def test_the_map_of_an_image_lies_over_a_faint_print_of_it():
    inputs, values = torch.zeros(1, 1, 8, 8), torch.full((1, 1, 8, 8), 1e-3)
    inputs[..., :4] = 1.0
    values[..., 0, 0] = 1.0
    pixels = decoded(IMAGES.draw((inputs, NONE), values, titles=["half"]))
    left, right = pixels[330, 30:70].mean(axis=0), pixels[330, 90:130].mean(axis=0)
    # What says nothing is nearly white, and darker by the print where the image is black.
    assert left.min() > 235
    assert 0.8 < right.mean() / left.mean() < 0.9


@pytest.mark.parametrize("nothing", [0.0, float("nan"), float("inf")])
def test_an_attribution_without_a_number_is_a_grey_tile(nothing):
    inputs = torch.zeros(1, 1, 8, 8)
    pixels = decoded(IMAGES.draw((inputs, NONE), torch.full_like(inputs, nothing), titles=["empty"]))
    tile = pixels[260:, 10:150]
    assert spread(tile).max() == 0
    assert (tile == 191).all(axis=-1).sum() > 5000


def test_one_broken_pixel_does_not_spoil_the_others():
    inputs = torch.zeros(1, 1, 4, 4)
    attributions = torch.ones(1, 1, 4, 4)
    attributions[0, 0, 0, 0] = float("nan")
    pixels = decoded(IMAGES.draw((inputs, NONE), attributions, titles=["one"]))
    assert (spread(pixels[260:, 10:150]) > 60).sum() > 5000
    assert (pixels[260:, 10:150] == 191).all(axis=-1).sum() > 500


def test_images_without_a_range_or_without_contrast_are_drawn():
    free = ImageAdapter(scoring=ClassScoring(), bounds=None)
    for inputs in (torch.randn(2, 3, 6, 6) * 100, torch.full((2, 1, 6, 6), 3.0)):
        assert decoded(free.draw((inputs, NONE), torch.randn_like(inputs), titles=["a", "b"])).size


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("columns", [3, 30])
@pytest.mark.parametrize("scale", [0.0, 1.0, float("nan")])
def test_the_picture_of_a_table_has_a_panel_for_each_row(count, columns, scale):
    inputs = torch.randn(count, columns)
    png = ROWS.draw((inputs, NONE), scale * torch.randn(count, columns), titles=["$"] * count)
    bands, across = -(-count // 2), min(2, count)
    assert decoded(png).shape == (bands * (60 + 28 * min(10, columns)), 360 * across, 3)


def test_drawing_is_repeatable_and_leaves_tensors_alone():
    inputs = torch.rand(2, 1, 8, 8, requires_grad=True)
    attributions = torch.randn(2, 1, 8, 8)
    copy = attributions.clone()
    assert IMAGES.draw((inputs, NONE), attributions, titles=["a", "b"]) == IMAGES.draw(
        (inputs, NONE), attributions, titles=["a", "b"]
    )
    assert torch.equal(copy, attributions)
    assert inputs.grad is None


def test_drawing_leaves_no_trace_in_matplotlib():
    before = dict(matplotlib.rcParams), matplotlib.get_backend(), pyplot.get_fignums()
    image = torch.rand(1, 1, 4, 4)
    IMAGES.draw((image, NONE), image, titles=["a"])
    ROWS.draw((image[:, 0, 0], NONE), image[:, 0, 0], titles=["a"])
    assert before == (dict(matplotlib.rcParams), matplotlib.get_backend(), pyplot.get_fignums())
