"""Average precision, against pycocotools and by hand."""

import numpy as np
import pytest
import torch

from steelyard.adapters import IGNORED
from steelyard.detection._average_precision import average_precision, intervals, judged, ranked
from steelyard.detection._coco import precision

CLASSES = 3


def made_up(pictures, *, seed=0, noise=0.03, objects=4, queries=8):
    """Targets, and answers near to them with some misses, doubles and wrong classes."""
    random = torch.Generator().manual_seed(seed)
    targets = torch.full((pictures, objects, 5), float(IGNORED))
    count = torch.randint(0, objects + 1, (pictures,), generator=random)
    for row, some in zip(targets, count.tolist(), strict=True):
        row[:some, 0] = torch.randint(CLASSES, (some,), generator=random)
        row[:some, 1:3] = 0.2 + 0.6 * torch.rand(some, 2, generator=random)
        row[:some, 3:] = 0.1 + 0.2 * torch.rand(some, 2, generator=random)
    outputs = torch.randn(pictures, queries, CLASSES + 4, generator=random) - 1
    outputs[..., -4:] = 0.2 + 0.5 * torch.rand(pictures, queries, 4, generator=random)
    near = targets[:, torch.arange(queries) % objects]
    told = (near[..., 0] != IGNORED) & (torch.rand(pictures, queries, generator=random) < 0.8)
    boxes = near[..., 1:] + noise * torch.randn(pictures, queries, 4, generator=random)
    outputs[..., -4:] = torch.where(told[..., None], boxes, outputs[..., -4:])
    surer = 2 * torch.nn.functional.one_hot(near[..., 0].long().clamp(min=0), CLASSES).float()
    outputs[..., :-4] += torch.where(told[..., None], surer, 0.0)
    return ranked(outputs), targets


@pytest.mark.parametrize("noise", [0.005, 0.01, 0.03])
def test_it_is_what_pycocotools_says(noise):
    answers, targets = made_up(40, noise=noise)
    told = precision(answers, targets, classes=CLASSES)
    once = np.ones((1, len(targets)), dtype=int)
    tables = np.stack([average_precision(judged(answers, targets, kind=kind), times=once)[0] for kind in range(3)])
    assert 0.1 < told.whole < told.half < 1
    assert told.half == pytest.approx(tables[:, 0].mean(), abs=1e-9)
    assert told.whole == pytest.approx(tables.mean(), abs=1e-9)
    assert told.classes == pytest.approx(tables.mean(axis=1), abs=1e-9)


def test_a_picture_that_counts_twice_is_as_good_as_two_pictures():
    answers, targets = made_up(12)
    times = np.array([[2, 0, 1, 1, 0, 3, 1, 1, 0, 1, 1, 1]])
    repeated = torch.from_numpy(times[0])
    again = precision(answers.repeat_interleave(repeated, 0), targets.repeat_interleave(repeated, 0), classes=CLASSES)
    drawn = [average_precision(judged(answers, targets, kind=kind), times=times)[0] for kind in range(CLASSES)]
    # Equal certainties may stand in another order.
    assert [one.mean() for one in drawn] == pytest.approx(again.classes, abs=0.02)


def test_by_hand():
    targets = torch.tensor([[[0.0, 0.3, 0.3, 0.2, 0.2], [0.0, 0.7, 0.7, 0.2, 0.2]]])
    # Right, wrong, a double of the first, right.
    answers = torch.tensor(
        [
            [
                [0.9, 0.0, 0.3, 0.3, 0.2, 0.2],
                [0.8, 0.0, 0.3, 0.7, 0.2, 0.2],
                [0.7, 0.0, 0.3, 0.3, 0.2, 0.2],
                [0.6, 0.0, 0.7, 0.7, 0.2, 0.2],
            ]
        ]
    )
    found = judged(answers, targets, kind=0)
    assert found.right[0].tolist() == [True, False, False, True]
    # Precision 1 up to a recall of a half (51 of 101 points), 2 of 4 beyond.
    area = average_precision(found, times=np.array([[1]]))[0, 0]
    assert area == pytest.approx((51 * 1 + 50 * 0.5) / 101)
    assert precision(answers, targets, classes=1).half == pytest.approx(area)


def test_the_surest_answers_come_first_and_no_more_than_100():
    outputs = torch.randn(2, 60, CLASSES + 4)
    answers = ranked(outputs)
    assert answers.shape == (2, 100, 6)
    assert (answers[:, :-1, 0] >= answers[:, 1:, 0]).all()
    query, kind = divmod(int(outputs[0, :, :-4].flatten().argmax()), CLASSES)
    assert answers[0, 0].tolist() == pytest.approx(
        [float(outputs[0, query, kind].sigmoid()), kind, *outputs[0, query, -4:].tolist()]
    )


def test_a_class_without_objects_has_no_precision_and_no_interval():
    answers, targets = made_up(20)
    targets[targets[..., 0] == 1] = IGNORED
    told = precision(answers, targets, classes=CLASSES)
    around = intervals(answers, targets, classes=CLASSES, seed=0)
    assert np.isnan(told.classes[1])
    assert around.classes[1] is None
    assert np.isfinite([told.whole, told.half]).all()
    assert around.whole[0] < told.whole < around.whole[1]
    nothing = torch.full_like(targets, IGNORED)
    assert np.isnan(precision(answers, nothing, classes=CLASSES).whole)
    assert intervals(answers, nothing, classes=CLASSES, seed=0).whole is None


def test_the_interval_is_drawn_from_the_seed_and_mostly_covers_what_many_pictures_say():
    truth = precision(*made_up(1000, seed=99), classes=CLASSES).half
    covered = 0
    for seed in range(10):
        low, high = intervals(*made_up(40, seed=seed), classes=CLASSES, seed=0).half
        covered += low <= truth <= high
        assert 0.05 < high - low < 0.4
    assert covered >= 7
    answers, targets = made_up(40)
    assert intervals(answers, targets, classes=CLASSES, seed=0) == intervals(answers, targets, classes=CLASSES, seed=0)
    assert intervals(answers, targets, classes=CLASSES, seed=0) != intervals(answers, targets, classes=CLASSES, seed=1)


def test_intervals_stay_between_0_and_1_and_hold_the_value():
    answers, targets = made_up(30, noise=0.0)
    around = intervals(answers, targets, classes=CLASSES, seed=0)
    told = precision(answers, targets, classes=CLASSES)
    for value, (low, high) in zip(
        (told.whole, told.half, *told.classes), (around.whole, around.half, *around.classes), strict=True
    ):
        assert 0 <= low <= value <= high <= 1
