"""How detection is read: which boxes are kept, how right they are, what spoke for them, and how they are drawn."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_lightning import LightningModule

from steelyard.adapters import IGNORED, DetectionAdapter, DetectionScoring, Facts, adapter_for
from steelyard.detection.loss import set_losses

SCORING = DetectionScoring()
HERE, NEAR, THERE = (0.3, 0.3, 0.2, 0.2), (0.32, 0.3, 0.2, 0.2), (0.7, 0.7, 0.2, 0.2)
CLASSES = 3


def said(*found, queries=4):
    """An output of one picture in which some queries are sure: (logit, class, box)."""
    output = torch.full((1, queries, CLASSES + 4), -4.0)
    output[..., -4:] = torch.tensor([0.9, 0.1, 0.05, 0.05])
    for query, (logit, kind, box) in enumerate(found):
        output[0, query, kind] = logit
        output[0, query, -4:] = torch.tensor(box)
    return output


def rows(*objects, count=3):
    filled = torch.full((1, count, 5), float(IGNORED))
    for place, row in enumerate(objects):
        filled[0, place] = torch.tensor(row)
    return filled


NOTHING = rows()


def decided(output):
    return SCORING.decisions(output, NOTHING)


def test_sure_boxes_are_kept_the_surest_first_and_filled_up():
    several = torch.cat([said((1.0, 2, HERE), (3.0, 1, THERE), (-0.1, 0, NEAR)), said(), said((0.5, 0, NEAR))])
    kept = decided(several)
    assert kept.shape == (3, 2, 5)
    assert kept[0].tolist() == [pytest.approx([1, *THERE]), pytest.approx([2, *HERE])]
    assert (kept[1] == IGNORED).all()
    assert kept[2].tolist() == [pytest.approx([0, *NEAR]), [IGNORED] * 5]
    assert [SCORING.said(row) for row in kept] == [[1, 2], [], [0]]
    assert decided(said()).shape == (1, 0, 5)


def test_more_certainty_may_be_asked_for():
    assert DetectionScoring(keep=0.8).decisions(said((1.0, 2, HERE), (3.0, 1, THERE)), NOTHING).shape == (1, 1, 5)


@pytest.mark.parametrize(
    ("decision", "target", "mark"),
    [
        (rows((0, *HERE)), rows((0, *NEAR)), 1.0),
        (rows((0, *HERE), (1, *THERE)), rows((0, *NEAR)), 2 / 3),
        (rows((1, *HERE)), rows((0, *HERE)), 0.0),
        (rows(), rows(), 1.0),
        (rows(), rows((0, *HERE)), 0.0),
        (rows((0, *HERE)), rows(), 0.0),
        (rows((0, *HERE), (0, *NEAR)), rows((0, *HERE)), 2 / 3),
    ],
)
def test_the_mark_is_f1(decision, target, mark):
    assert SCORING.marks(decision, target).tolist() == [pytest.approx(mark)]
    assert SCORING.same(decision, target).tolist() == [mark == 1.0]


def test_the_same_boxes_in_another_order_and_padding_are_the_same():
    one, other = rows((0, *HERE), (1, *THERE)), rows((1, *THERE), (0, *NEAR), count=5)
    assert SCORING.same(one, other).tolist() == [True]


def test_the_score_is_the_mean_logit_of_the_kept_boxes():
    output = said((1.0, 2, HERE), (3.0, 1, THERE))
    assert SCORING.scores(output, decided(output)).tolist() == [pytest.approx(2.0, abs=1e-5)]
    certain = torch.tensor([1.0, 3.0]).sigmoid().mean()
    assert SCORING.probabilities(output, decided(output)).tolist() == [pytest.approx(float(certain))]


def test_the_score_does_not_care_which_query_says_it():
    output = said((1.0, 2, HERE), (3.0, 1, THERE))
    kept = decided(output)
    shuffled = output[:, [3, 1, 0, 2]]
    assert torch.equal(SCORING.scores(shuffled, kept), SCORING.scores(output, kept))
    assert torch.equal(SCORING.probabilities(shuffled, kept), SCORING.probabilities(output, kept))


def test_certainty_goes_when_the_box_moves_away_or_becomes_another_class():
    kept = decided(said((3.0, 1, HERE)))
    certain = [
        float(SCORING.probabilities(output, kept))
        for output in (said((3.0, 1, HERE)), said((3.0, 1, NEAR)), said((3.0, 1, THERE)), said((3.0, 0, HERE)), said())
    ]
    # As much as overlaps; the other class was at -4 there all along.
    assert certain == pytest.approx([0.953, 0.953 * 9 / 11, 0.0, 0.018, 0.0], abs=1e-3)


def test_nothing_kept_is_a_decision_with_a_score_of_its_own():
    output = said((-1.0, 2, HERE))
    kept = decided(output)
    assert SCORING.scores(output, kept).tolist() == [1.0]
    assert SCORING.probabilities(output, kept).tolist() == [pytest.approx(float(torch.tensor(1.0).sigmoid()))]


def test_scores_carry_a_finite_gradient_and_probabilities_lie_in_0_to_1():
    random = torch.randn(6, 8, CLASSES + 4, generator=torch.Generator().manual_seed(0))
    output = torch.cat([random[..., :-4], random[..., -4:].sigmoid()], dim=-1).requires_grad_()
    kept = SCORING.decisions(output.detach(), NOTHING)
    SCORING.scores(output, kept).sum().backward()
    assert torch.isfinite(output.grad).all()
    assert (output.grad != 0).flatten(1).any(dim=1).all()
    chances = SCORING.probabilities(output, kept)
    assert ((chances >= 0) & (chances <= 1)).all()


def test_losses_are_those_of_the_task():
    output, target = said((1.0, 2, HERE)), rows((2, *NEAR))
    assert torch.equal(SCORING.losses(output, target), set_losses(output, target))
    assert SCORING.wanted(rows((2, *NEAR), (0, *HERE))[0]) == [0, 2]


ADAPTER = adapter_for("detection", facts=Facts(bounds=(0.0, 1.0), names=("ellipse", "rectangle", "triangle")))
TASK = LightningModule()


def test_the_adapter_sees_pixels_as_that_of_images_does():
    images = adapter_for("image", facts=Facts(bounds=(0.0, 1.0)))
    pictures = torch.rand(2, 3, 4, 5)
    batch = (pictures, rows((0, *HERE)).expand(2, -1, -1))
    assert isinstance(ADAPTER, DetectionAdapter)
    assert ADAPTER.unit == images.unit
    assert torch.equal(ADAPTER.features(pictures), images.features(pictures))
    assert ADAPTER.inputs(TASK, batch) is pictures
    assert ADAPTER.size(batch) == 2
    assert ADAPTER.take(batch, torch.tensor([1]))[1].shape == (1, 3, 5)


def test_classes_are_told_by_name_and_nothing_is_nothing():
    assert ADAPTER.told(SCORING.said(rows((2, *HERE), (0, *THERE))[0])) == "ellipse, triangle"
    assert ADAPTER.told(SCORING.said(rows()[0])) == "nothing"


def drawn(target, decision):
    pictures = torch.zeros(1, 3, 32, 32)
    png = ADAPTER.draw((pictures, target), torch.zeros_like(pictures), titles=["a"], decisions=decision)
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def amber(pixels):
    return (pixels[..., 0] > 200) & (pixels[..., 1] > 120) & (pixels[..., 1] < 220) & (pixels[..., 2] < 80)


def white_on_black(pixels):
    black = (pixels.max(axis=-1) < 40).nonzero()
    inside = pixels[black[0].min() : black[0].max(), black[1].min() : black[1].max()]
    return (inside.min(axis=-1) > 200).sum()


def test_true_boxes_are_dashed_in_white_and_kept_ones_drawn_in_amber():
    nothing, true, kept = drawn(NOTHING, None), drawn(rows((0, *HERE)), None), drawn(NOTHING, rows((1, *THERE)))
    assert not amber(nothing).any()
    assert not amber(true).any()
    assert amber(kept).sum() > 50
    assert white_on_black(true) > white_on_black(nothing)


def edges(pixels):
    """First and last row and column of what is drawn in amber on the picture, above its attribution."""
    down, along = amber(pixels).nonzero()
    rows_, gap = np.unique(down), np.diff(np.unique(down)).argmax()
    return np.array([rows_[0], rows_[gap], along.min(), along.max()])


def test_a_box_is_drawn_where_it_lies():
    top, bottom, left, right = edges(drawn(NOTHING, rows((1, 0.5, 0.5, 1.0, 1.0))))
    found = edges(drawn(NOTHING, rows((1, 0.5, 0.25, 0.5, 0.25))))
    height, width = bottom - top, right - left
    expected = [top + 0.125 * height, top + 0.375 * height, left + 0.25 * width, left + 0.75 * width]
    assert found.tolist() == pytest.approx(expected, abs=2)


def test_long_captions_are_broken_into_lines():
    pictures = torch.zeros(2, 1, 8, 8)
    long = "says ellipse, rectangle, triangle, ellipse (71%)\ntruth ellipse, rectangle, triangle"
    short, tall = (
        Image.open(io.BytesIO(ADAPTER.draw((pictures, NOTHING.expand(2, -1, -1)), pictures, titles=[title] * 2)))
        for title in ("a", long)
    )
    assert short.size == tall.size
