"""The loss of a set of boxes, against transformers' own on single pictures."""

import pytest
import torch
from transformers import RTDetrConfig
from transformers.loss.loss_rt_detr import RTDetrLoss

from steelyard.adapters import IGNORED
from steelyard.detection.boxes import there
from steelyard.detection.loss import set_losses

CLASSES, QUERIES = 4, 7
COUNTS = (3, 1, 0, 2)


def outputs(*leading, seed=0):
    random = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(*leading, QUERIES, CLASSES, generator=random)
    boxes = 0.1 + 0.5 * torch.rand(*leading, QUERIES, 4, generator=random)
    return torch.cat([logits, boxes], dim=-1).requires_grad_()


def targets(seed=1):
    random = torch.Generator().manual_seed(seed)
    found = torch.full((len(COUNTS), max(COUNTS), 5), float(IGNORED))
    for row, count in zip(found, COUNTS, strict=True):
        row[:count, 0] = torch.randint(CLASSES, (count,), generator=random)
        row[:count, 1:] = 0.2 + 0.3 * torch.rand(count, 4, generator=random)
    return found


def theirs(output, target):
    """Transformers' loss of one picture, which it divides by the number of objects of the batch."""
    judge = RTDetrLoss(RTDetrConfig(num_labels=CLASSES))
    rows = target[there(target)]
    said = {"logits": output[None, :, :-4], "pred_boxes": output[None, :, -4:]}
    return sum(judge(said, [{"class_labels": rows[:, 0].long(), "boxes": rows[:, 1:]}]).values())


def test_the_loss_of_a_picture_is_that_of_transformers_for_it_alone_with_its_gradient():
    ours, other = outputs(len(COUNTS)), outputs(len(COUNTS))
    losses = set_losses(ours, targets())
    assert losses.shape == (len(COUNTS),)
    expected = torch.stack([theirs(output, target) for output, target in zip(other, targets(), strict=True)])
    torch.testing.assert_close(losses, expected)
    losses.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(ours.grad, other.grad)


def test_the_loss_of_a_picture_knows_nothing_of_the_others():
    said, wanted = outputs(len(COUNTS)), targets()
    alone = torch.cat([set_losses(said[row : row + 1], wanted[row : row + 1]) for row in range(len(COUNTS))])
    torch.testing.assert_close(set_losses(said, wanted), alone)
    torch.testing.assert_close(set_losses(said, wanted).mean(), alone.mean())


def test_stages_are_judged_one_by_one():
    said, wanted = outputs(3, len(COUNTS)), targets()
    torch.testing.assert_close(set_losses(said, wanted), torch.stack([set_losses(stage, wanted) for stage in said]))


def test_more_rows_without_objects_change_nothing():
    said, wanted = outputs(len(COUNTS)), targets()
    padded = torch.cat([wanted, torch.full((len(COUNTS), 2, 5), float(IGNORED))], dim=1)
    torch.testing.assert_close(set_losses(said, padded), set_losses(said, wanted))


def test_the_order_of_objects_and_of_queries_changes_nothing():
    said, wanted = outputs(len(COUNTS)), targets()
    torch.testing.assert_close(set_losses(said.flip(1), wanted.flip(1)), set_losses(said, wanted))


def test_the_right_answer_costs_almost_nothing_and_a_wrong_class_or_box_more():
    wanted = torch.tensor([[[2.0, 0.5, 0.5, 0.2, 0.2]]])
    said = torch.full((1, QUERIES, CLASSES + 4), -20.0)
    said[..., -4:] = torch.tensor([0.1, 0.1, 0.1, 0.1])
    said[0, 3, 2] = 20.0
    said[0, 3, -4:] = wanted[0, 0, 1:]
    assert float(set_losses(said, wanted)) == pytest.approx(0, abs=1e-4)
    moved, other = said.clone(), said.clone()
    moved[0, 3, -4] += 0.05
    other[0, 3, [1, 2]] = other[0, 3, [2, 1]]
    assert float(set_losses(moved, wanted)) > 0.3
    assert float(set_losses(other, wanted)) > 5


def test_outputs_that_are_no_numbers_give_a_loss_that_is_none():
    said = outputs(len(COUNTS)).detach()
    said[0, 0, 0] = float("nan")
    losses = set_losses(said, targets())
    assert losses[0].isnan()
    assert losses[1:].isfinite().all()
