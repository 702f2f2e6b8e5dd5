"""The loss of a set of boxes, example by example."""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from steelyard.detection._matching import cheapest
from steelyard.detection.boxes import generous_overlap, overlap, there

CLASS_WEIGHT, PLACE_WEIGHT, OVERLAP_WEIGHT = 1.0, 5.0, 2.0
"""Weights of the loss (Zhao et al. 2024, RT-DETR)."""
CLASS_COST = 2.0
"""In the assignment the class counts twice as much."""
MATCH_ALPHA, MATCH_GAMMA = 0.25, 2.0
LOSS_ALPHA, LOSS_GAMMA = 0.75, 2.0


def set_losses(outputs: Tensor, targets: Tensor) -> Tensor:
    """Each picture's loss: its objects are assigned to queries, the others shall find nothing.

    Varifocal loss of the classes (Zhang et al. 2021: the certainty shall be the overlap), L1 and generalised IoU of the
    boxes, divided by the number of objects of the picture. DETRs commonly divide by that of the batch, which makes the
    loss of a picture depend on the others.

    Args:
        outputs: (..., B, queries, classes + 4), logits and boxes.
        targets: (B, objects, 5), class and box, rows of IGNORED for none; at most as many objects as queries.

    Returns:
        (..., B).
    """
    logits, boxes = outputs[..., :-4], outputs[..., -4:]
    present = there(targets)
    classes = targets[..., 0].long().clamp(min=0)
    wanted = targets[..., 1:]
    chosen = _assigned(logits.detach(), boxes.detach(), classes=classes, wanted=wanted, present=present)
    found = boxes.gather(-2, chosen[..., None].expand(*chosen.shape, 4))
    aims = overlap(found.detach(), wanted) * present
    place = ((found - wanted).abs().sum(dim=-1) * present).sum(dim=-1)
    apart = ((1 - generous_overlap(found, wanted)) * present).sum(dim=-1)
    certain = _varifocal(logits, chosen=chosen, classes=classes.expand(chosen.shape), aims=aims, present=present)
    total = CLASS_WEIGHT * certain + PLACE_WEIGHT * place + OVERLAP_WEIGHT * apart
    return total / present.sum(dim=-1).clamp(min=1)


def _assigned(logits: Tensor, boxes: Tensor, *, classes: Tensor, wanted: Tensor, present: Tensor) -> Tensor:
    """The query of each object, by a focal cost of the class and the two costs of the box."""
    chance = logits.sigmoid().gather(-1, classes[:, None, :].expand(*logits.shape[:-1], classes.shape[-1]))
    yes = MATCH_ALPHA * (1 - chance) ** MATCH_GAMMA * -(chance + 1e-8).log()
    no = (1 - MATCH_ALPHA) * chance**MATCH_GAMMA * -(1 - chance + 1e-8).log()
    found, wanted = boxes[..., :, None, :], wanted[:, None]
    costs = CLASS_COST * (yes - no) + PLACE_WEIGHT * (found - wanted).abs().sum(dim=-1)
    return cheapest(costs - OVERLAP_WEIGHT * generous_overlap(found, wanted), present)


def _varifocal(logits: Tensor, *, chosen: Tensor, classes: Tensor, aims: Tensor, present: Tensor) -> Tensor:
    """Cross-entropy against the overlap for the assigned, focal loss for the others, over all queries and classes."""
    count = logits.shape[-1]
    flat = chosen * count + classes
    # Several objects that do not exist point to query 0: added up, they leave it as it is.
    spots = torch.zeros_like(logits).flatten(start_dim=-2)
    aim = spots.scatter_add(-1, flat, aims).view_as(logits)
    taken = spots.scatter_add(-1, flat, present.expand(flat.shape).to(logits.dtype)).view_as(logits)
    weight = LOSS_ALPHA * logits.detach().sigmoid() ** LOSS_GAMMA * (1 - taken) + aim
    return binary_cross_entropy_with_logits(logits, aim, weight=weight, reduction="none").sum(dim=(-2, -1))
