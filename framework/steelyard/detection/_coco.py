# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingModuleSource=false
"""The only place that touches pycocotools, by which the field measures detection."""

import contextlib
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from steelyard.detection.boxes import corners, there
from steelyard.extras import require

UNIT = 1000.0
"""Overlaps do not depend on the unit of length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """Average precision, NaN where there is nothing to be found.

    Attributes:
        whole: Mean over the classes and over overlaps of 0.5 to 0.95.
        half: Mean over the classes at an overlap of 0.5.
        classes: Of each class, mean over the overlaps.
    """

    whole: float
    half: float
    classes: tuple[float, ...]


def precision(answers: Tensor, targets: Tensor, *, classes: int) -> Precision:
    """What pycocotools says.

    Args:
        answers: (N, K, 6) certainty, class and box; at most 100 in a picture.
        targets: (N, objects, 5), class and box, rows of IGNORED for none.
        classes: How many there are.
    """
    require("pycocotools", extra="vision")
    with contextlib.redirect_stdout(io.StringIO()):
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        truth: Any = COCO()
        truth.dataset = {
            "info": {},
            "images": [{"id": number} for number in range(len(targets))],
            "categories": [{"id": number} for number in range(classes)],
            "annotations": _annotations(targets),
        }
        truth.createIndex()
        judge: Any = COCOeval(truth, truth.loadRes(_rows(answers)), "bbox")
        judge.evaluate()
        judge.accumulate()
    # Thresholds x recalls x classes, objects of any size, 100 answers in a picture; -1 without objects.
    table: Any = judge.eval["precision"][:, :, :, 0, -1]
    table = np.where(table < 0, np.nan, table)
    return Precision(
        whole=_mean(table),
        half=_mean(table[0]),
        classes=tuple(_mean(table[:, :, number]) for number in range(classes)),
    )


def _annotations(targets: Tensor) -> list[dict[str, Any]]:
    picture, place = there(targets).nonzero(as_tuple=True)
    rows = targets[picture, place].double()
    boxes = _boxes(rows[:, 1:])
    return [
        {
            "id": number,
            "image_id": int(image),
            "category_id": int(row[0]),
            "bbox": box.tolist(),
            "area": float(box[2:].prod()),
            "iscrowd": 0,
        }
        for number, (image, row, box) in enumerate(zip(picture, rows, boxes, strict=True), start=1)
    ]


def _rows(answers: Tensor) -> Any:
    """Picture, left, top, width, height, certainty, class."""
    flat = answers.double().flatten(end_dim=1)
    picture = torch.arange(len(answers)).repeat_interleave(answers.shape[1]).double()
    return torch.cat([picture[:, None], _boxes(flat[:, 2:]), flat[:, :2]], dim=1).numpy()


def _boxes(boxes: Tensor) -> Tensor:
    return UNIT * torch.cat([corners(boxes)[:, :2], boxes[:, 2:]], dim=1)


def _mean(values: Any) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
