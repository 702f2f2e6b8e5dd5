"""Breast cancer measurements, embedded in scikit-learn."""

from collections.abc import Mapping
from functools import cached_property
from importlib import import_module
from typing import Any, final

import torch

from steelyard.data.in_memory import Corpus, InMemory
from steelyard.kinds import Kind


@final
class BreastCancer(InMemory):
    """569 tumours, 30 measurements of cell nuclei each: malignant (0) or benign (1) (Street and others 1993).

    The columns keep their own units. A model standardises them by `sizes["mean"]` and `sizes["std"]`, which are
    computed from the training split: what they give away of it is not covered by a privacy guarantee on the training.
    Where that matters, set `model.mean` and `model.std` from public knowledge.
    """

    modality = "table"
    kind = Kind.TABLE_TO_CLASS
    bounds = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, for drawing."""
        return tuple(str(name) for name in self._bunch.feature_names)

    def read(self) -> Corpus:
        """All tumours."""
        return Corpus(
            inputs=torch.tensor(self._bunch.data, dtype=torch.float32),
            targets=torch.tensor(self._bunch.target, dtype=torch.int64),
            classes=2,
        )

    def moments(self) -> Mapping[str, Any]:
        """Mean and standard deviation of each column over the training split."""
        train = self.corpus.inputs[self.splits.train].double()
        means, stds = train.mean(dim=0), train.std(dim=0, correction=0)
        # A column that never changes would divide by zero.
        return {"mean": [float(mean) for mean in means], "std": [float(std) or 1.0 for std in stds]}

    @cached_property
    def _bunch(self) -> Any:
        datasets: Any = import_module("sklearn.datasets")
        return datasets.load_breast_cancer()
