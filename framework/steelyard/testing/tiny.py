"""A task and data that train in a tenth of a second, made from nothing."""

from collections.abc import Mapping
from functools import partial
from typing import Any, final

import torch
from pytorch_lightning import LightningDataModule

from steelyard.data import Corpus, InMemory
from steelyard.models import MLP
from steelyard.tasks import Classification

SIDE, CLASSES, EXAMPLES = 6, 3, 120


@final
class TinyImages(InMemory):
    """120 images of 6x6 pixels in [0, 1]: a bright band in one of three places, under noise.

    The bands overlap the noise enough that a model errs now and then, so that no measurement is trivially 0 or 1.

    Args:
        batch_size: Examples in a batch.
    """

    modality = "image"
    bounds = (0.0, 1.0)

    def __init__(self, *, batch_size: int = 24) -> None:
        super().__init__(
            batch_size=batch_size, num_workers=0, split_seed=0, val_fraction=0.2, test_fraction=0.2, limit=None
        )

    def read(self) -> Corpus:
        """The same images in every process."""
        generator = torch.Generator().manual_seed(0)
        targets = torch.arange(EXAMPLES) % CLASSES
        images = torch.rand(EXAMPLES, 1, SIDE, SIDE, generator=generator) * 0.7
        for place in range(CLASSES):
            images[targets == place, :, 2 * place : 2 * place + 2] += 0.3
        return Corpus(inputs=images, targets=targets, classes=CLASSES)

    def moments(self) -> Mapping[str, Any]:
        """Pixels stay as they are."""
        return {"mean": 0.0, "std": 1.0}


def tiny_classifier(data: LightningDataModule) -> Classification:
    """A small ReLU network with dropout, so that a shift of the random stream shows in the weights.

    Args:
        data: `TinyImages`, or another data module with `input_shape` and `classes` in its `sizes`.
    """
    sizes: Mapping[str, Any] = getattr(data, "sizes", {})
    if not {"input_shape", "classes"} <= {*sizes}:
        raise ValueError(f"{type(data).__name__} has no `sizes` with input_shape and classes: override `task`, too")
    model = MLP(input_shape=sizes["input_shape"], classes=sizes["classes"], hidden=(16,), dropout=0.1)
    return Classification(model=model, optimizer=partial(torch.optim.SGD, lr=0.2), classes=sizes["classes"])
