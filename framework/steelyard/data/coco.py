"""Pictures with marked objects, from a folder in COCO's format."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from steelyard.data._pictures import Stretched, read_stretched
from steelyard.data.coco_file import Annotations, Marked, read_annotations
from steelyard.data.in_memory import Corpus, InMemory
from steelyard.detection.boxes import ROW
from steelyard.ignored import IGNORED
from steelyard.kinds import Kind
from steelyard.problem import check_least, refuse

SLACK = 1.0
"""Pixels by which a box may reach over the edge; it is cut there."""


@final
class Coco(InMemory):
    """Pictures (3, size, size) in [0, 1], stretched to a square, with the boxes of a file of annotations.

    The target of a picture has a row for each object, shape (objects, 5): class, and centre, width and height of its
    box in parts of the picture. Rows without an object are -100; there are as many as in the fullest picture.

    Args:
        root: The folder.
        annotations: The file of annotations in it, in COCO's format.
        images: The folder of the pictures in it.
        size: Height and width to which they are brought.
        batch_size: Examples in a batch.
        val_fraction: Part of the pictures for validation.
        test_fraction: Part of them for the test.
        options: See `InMemory`.
    """

    modality = "detection"
    kind = Kind.IMAGE_TO_BOXES
    bounds = (0.0, 1.0)

    def __init__(
        self,
        *,
        root: str | Path | None = None,
        annotations: str = "annotations.json",
        images: str = "images",
        size: int = 128,
        batch_size: int = 16,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        **options: Any,
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            val_fraction=val_fraction,
            test_fraction=test_fraction,
            **options,
        )
        if root is None:
            raise refuse(
                "data.root is not set: it names the folder of pictures and annotations", fix="data.root=FOLDER"
            )
        check_least("data.size", size, 1, fix=128)
        self.root = Path(root).expanduser()
        self.annotations = annotations
        self.images = images
        self.size = size

    @property
    def names(self) -> tuple[str, ...]:
        """What the classes are called."""
        return self._marks.names

    def read(self) -> Corpus:
        """All pictures and boxes."""
        marks = self._marks
        most = max(map(len, marks.objects))
        targets = torch.full((len(marks.files), most, ROW), float(IGNORED))
        pixels: list[Tensor] = []
        for number, (file, objects) in enumerate(zip(marks.files, marks.objects, strict=True)):
            where, path = f"{self.root / self.annotations}, image {number + 1}", self.root / self.images / file
            if not path.is_file():
                raise refuse(f"{where} is the file {path}, which is not there", fix="data.images=FOLDER")
            picture = read_stretched(path, size=self.size, where=f"{where}: {path}")
            pixels.append(picture.pixels)
            for place, marked in enumerate(objects):
                targets[number, place] = torch.tensor([float(marked.kind), *_inside(marked, picture, file)])
        return Corpus(inputs=torch.stack(pixels), targets=targets, classes=len(marks.names), divisor=255.0)

    def moments(self) -> Mapping[str, Any]:
        """Fixed numbers: nothing is estimated from the data, so nothing of it leaks."""
        return {"mean": 0.45, "std": 0.25}

    @cached_property
    def _marks(self) -> Annotations:
        if not self.root.is_dir():
            raise refuse(f"there is no folder data.root={self.root}", fix="data.root=FOLDER")
        return read_annotations(self.root / self.annotations)


def _inside(marked: Marked, picture: Stretched, file: str) -> tuple[float, float, float, float]:
    """Centre, width and height in parts of the picture."""
    left, top, width, height = marked.box
    right, bottom = left + width, top + height
    if min(left, top) < -SLACK or right > picture.width + SLACK or bottom > picture.height + SLACK:
        raise refuse(
            f"{marked.row}: the box from ({left:g}, {top:g}) to ({right:g}, {bottom:g}) reaches outside the picture "
            f"{file}, which has {picture.width}x{picture.height} pixels",
            fix="data.annotations=FILE.json",
        )
    left, right = (min(max(edge, 0.0), picture.width) / picture.width for edge in (left, right))
    top, bottom = (min(max(edge, 0.0), picture.height) / picture.height for edge in (top, bottom))
    return (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
