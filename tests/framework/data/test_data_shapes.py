import pytest
import torch

from steelyard.adapters import IGNORED
from steelyard.data import Shapes
from steelyard.data.shapes import KINDS, MOST, SIDE
from steelyard.detection.boxes import corners, overlap, there
from steelyard.problem import Refused

ELLIPSE, RECTANGLE, TRIANGLE = range(3)


@pytest.fixture(scope="module")
def corpus():
    return Shapes(pictures=90).corpus


def drawn(corpus):
    """Kind, box in pixels, and the picture of every object."""
    for picture, target in zip(corpus.inputs, corpus.targets, strict=True):
        for row in target[there(target)]:
            yield int(row[0]), SIDE * corners(row[1:]), picture


def shown(picture):
    """Which pixels are brighter than any ground."""
    return (picture > 0.5 * 255).all(dim=0)


def test_pictures_are_bytes_and_targets_classes_and_boxes(corpus):
    assert corpus.inputs.shape == (90, 3, SIDE, SIDE)
    assert corpus.inputs.dtype == torch.uint8
    assert corpus.targets.shape == (90, MOST, 5)
    assert (corpus.classes, KINDS) == (3, ("ellipse", "rectangle", "triangle"))
    some = corpus.targets[there(corpus.targets)]
    assert set(some[:, 0].tolist()) == {0, 1, 2}
    assert (corners(some[:, 1:]) >= 0).all()
    assert (corners(some[:, 1:]) <= 1).all()


def test_there_are_one_to_three_objects_and_the_rest_is_ignored(corpus):
    assert set(there(corpus.targets).sum(dim=1).tolist()) == {1, 2, 3}
    assert (corpus.targets[~there(corpus.targets)] == IGNORED).all()


def test_objects_do_not_overlap(corpus):
    for target in corpus.targets:
        boxes = target[there(target)][:, 1:]
        apart = overlap(boxes[:, None], boxes[None])
        assert (apart[~torch.eye(len(boxes), dtype=torch.bool)] == 0).all()


def test_a_box_encloses_exactly_what_is_drawn(corpus):
    for kind, (left, top, right, bottom), picture in drawn(corpus):
        rows, columns = shown(picture).nonzero(as_tuple=True)
        inside = (columns + 0.5 > left) & (columns + 0.5 < right) & (rows + 0.5 > top) & (rows + 0.5 < bottom)
        rows, columns = rows[inside], columns[inside]
        # A curve touches its box between pixels, the tip of a triangle lies above the first row of them.
        slack = 1.0 if kind == RECTANGLE else 1.6
        assert columns.min() - left < slack
        assert right - columns.max() - 1 < slack
        assert bottom - rows.max() - 1 < slack
        assert rows.min() - top < (4.0 if kind == TRIANGLE else slack)


def test_nothing_is_drawn_outside_the_boxes(corpus):
    for picture, target in zip(corpus.inputs, corpus.targets, strict=True):
        outside = shown(picture)
        places = torch.arange(SIDE) + 0.5
        for left, top, right, bottom in SIDE * corners(target[there(target)][:, 1:]):
            wide, high = (places > left) & (places < right), (places > top) & (places < bottom)
            outside = outside & ~(high[:, None] & wide)
        assert not outside.any()


def test_each_kind_fills_its_share_of_the_box(corpus):
    shares = {ELLIPSE: [], RECTANGLE: [], TRIANGLE: []}
    for kind, (left, top, right, bottom), picture in drawn(corpus):
        part = shown(picture)[round(float(top)) : round(float(bottom)), round(float(left)) : round(float(right))]
        shares[kind].append(part.float().mean())
    means = [torch.stack(shares[kind]).mean().item() for kind in shares]
    assert means == pytest.approx([torch.pi / 4, 1.0, 0.5], abs=0.05)


def test_content_follows_from_the_content_seed_and_splits_from_the_split_seed():
    one, again, other = (Shapes(pictures=40, content_seed=seed) for seed in (0, 0, 1))
    assert one.fingerprint() == again.fingerprint() != other.fingerprint()
    torch.manual_seed(5)
    assert Shapes(pictures=40).fingerprint() == one.fingerprint()
    moved = Shapes(pictures=40, split_seed=1)
    assert moved.fingerprint() == one.fingerprint()
    assert not torch.equal(moved.splits.train, one.splits.train)


def test_a_batch_is_pictures_in_0_to_1_and_targets():
    data = Shapes(pictures=40, batch_size=8)
    pictures, targets = next(iter(data.train_dataloader()))
    assert pictures.shape == (8, 3, SIDE, SIDE)
    assert (pictures.min() >= 0) & (pictures.max() <= 1)
    assert targets.shape == (8, MOST, 5)
    assert targets.dtype == torch.float32
    assert (data.modality, data.bounds, data.names) == ("detection", (0.0, 1.0), KINDS)
    assert data.sizes == {"input_shape": (3, SIDE, SIDE), "classes": 3, "mean": 0.35, "std": 0.25}


def test_it_says_that_it_is_made_up():
    assert "Nothing here was photographed" in Shapes.__doc__


def test_no_picture_is_refused():
    with pytest.raises(Refused, match="pictures is 0") as caught:
        Shapes(pictures=0)
    assert caught.value.problems[0].fix == "data.pictures=3000"
