"""Scanned digits, embedded in scikit-learn."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, final

import torch

from steelyard.data.in_memory import Corpus, InMemory
from steelyard.kinds import Kind


@final
class Digits(InMemory):
    """1,797 scanned handwritten digits of 8x8 pixels, shape (1, 8, 8), in [0, 1] (Alpaydin and Kaynak 1998).

    They are the test part of UCI's "Optical Recognition of Handwritten Digits", shipped inside scikit-learn.
    """

    modality = "image"
    kind = Kind.IMAGE_TO_CLASS
    bounds = (0.0, 1.0)

    def read(self) -> Corpus:
        """All digits; the source counts ink from 0 to 16."""
        datasets: Any = import_module("sklearn.datasets")
        images, targets = datasets.load_digits(return_X_y=True)
        return Corpus(
            inputs=torch.tensor(images, dtype=torch.uint8).reshape(-1, 1, 8, 8),
            targets=torch.tensor(targets),
            classes=10,
            divisor=16.0,
        )

    def moments(self) -> Mapping[str, Any]:
        """Pixels in [0, 1] stay as they are: nothing is estimated from the data, so nothing of it leaks."""
        return {"mean": 0.0, "std": 1.0}
