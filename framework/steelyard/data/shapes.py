"""Made-up pictures of shapes that are to be found."""

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor

from steelyard.data.in_memory import Corpus, InMemory
from steelyard.detection.boxes import ROW
from steelyard.ignored import IGNORED
from steelyard.kinds import Kind
from steelyard.problem import check_least

KINDS = ("ellipse", "rectangle", "triangle")
"""The classes."""
SIDE, MOST = 64, 3
"""Pixels, and objects in a picture at most."""


@final
class Shapes(InMemory):
    """Pictures (3, 64, 64) in [0, 1] of one to three coloured shapes on a noisy ground, made up from `content_seed`.

    Nothing here was photographed, and no figure made on it says how well a model finds things in photographs.

    The target of a picture has a row for each of three objects, shape (3, 5): class, and centre, width and height of
    its box in parts of the side. Rows without an object are -100. Objects do not overlap.

    Args:
        pictures: How many are made.
        content_seed: Decides what they show.
        batch_size: Examples in a batch.
        val_fraction: Part of the pictures for validation.
        test_fraction: Part of them for the test.
        options: See `InMemory`.
    """

    modality = "detection"
    kind = Kind.IMAGE_TO_BOXES
    bounds = (0.0, 1.0)
    names = KINDS

    def __init__(
        self,
        *,
        pictures: int = 3000,
        content_seed: int = 0,
        batch_size: int = 32,
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
        check_least("data.pictures", pictures, 1, fix=3000)
        self.pictures = pictures
        self.content_seed = content_seed

    def read(self) -> Corpus:
        """Makes all of them."""
        random = torch.Generator().manual_seed(self.content_seed)
        count = self.pictures
        ground = 0.35 * torch.rand(count, 3, 1, 1, generator=random)
        pictures = ground + 0.15 * torch.rand(count, 3, SIDE, SIDE, generator=random)
        # Each object has one of the four quarters for itself.
        quarters = torch.rand(count, 4, generator=random).argsort(dim=1)
        objects = 1 + torch.arange(count) % MOST
        targets = torch.full((count, MOST, ROW), float(IGNORED))
        for place in range(MOST):
            kinds = torch.randint(len(KINDS), (count,), generator=random)
            reach = 6 + 7 * torch.rand(count, 2, generator=random)
            corner = torch.stack([quarters[:, place] % 2, quarters[:, place] // 2], dim=1) * (SIDE / 2)
            centre = corner + reach + (SIDE / 2 - 2 * reach) * torch.rand(count, 2, generator=random)
            colour = 0.55 + 0.45 * torch.rand(count, 3, 1, 1, generator=random)
            there = objects > place
            shown = _shape(kinds, centre, reach)[:, None] & there[:, None, None, None]
            pictures = torch.where(shown, colour, pictures)
            row = torch.cat([kinds[:, None].float(), centre / SIDE, 2 * reach / SIDE], dim=1)
            targets[there, place] = row[there]
        return Corpus(inputs=(255 * pictures).to(torch.uint8), targets=targets, classes=len(KINDS), divisor=255)

    def moments(self) -> Mapping[str, Any]:
        """Fixed numbers: nothing is estimated from the data, so nothing of it leaks."""
        return {"mean": 0.35, "std": 0.25}


def _shape(kinds: Tensor, centre: Tensor, reach: Tensor) -> Tensor:
    """Which pixels each shape covers: booleans (N, SIDE, SIDE)."""
    places = torch.arange(SIDE) + 0.5
    x = ((places - centre[:, :1]) / reach[:, :1])[:, None, :]
    y = ((places - centre[:, 1:]) / reach[:, 1:])[:, :, None]
    masks = torch.stack(
        [
            x**2 + y**2 <= 1,
            torch.maximum(x.abs(), y.abs()) <= 1,
            (y.abs() <= 1) & (x.abs() <= (y + 1) / 2),
        ]
    )
    return masks[kinds, torch.arange(len(kinds))]
