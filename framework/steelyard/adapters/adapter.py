"""Adapters: how the challenges look at a batch and at an output, whatever the modality."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from pytorch_lightning import LightningModule
from torch import Tensor


class Scoring(ABC):
    """The output side: what a task's raw output decides, and how wrong it is."""

    @abstractmethod
    def decisions(self, outputs: Tensor) -> Tensor:
        """What the output decides, one integer per example: shape (B,)."""

    @abstractmethod
    def scores(self, outputs: Tensor, decisions: Tensor) -> Tensor:
        """The raw, differentiable score that spoke for each decision: shape (B,); what attribution explains."""

    @abstractmethod
    def probabilities(self, outputs: Tensor, decisions: Tensor) -> Tensor:
        """The probability that the output gives to each decision: shape (B,), in [0, 1]."""

    @abstractmethod
    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of each example: shape (B,), in nats."""


@final
class ClassScoring(Scoring):
    """Logits over classes, shape (B, C), against integer targets, shape (B,)."""

    def decisions(self, outputs: Tensor) -> Tensor:
        """The most likely class."""
        return outputs.argmax(dim=1)

    def scores(self, outputs: Tensor, decisions: Tensor) -> Tensor:
        """The logit of the class: explaining softmax outputs saturates."""
        return outputs.gather(1, decisions[:, None])[:, 0]

    def probabilities(self, outputs: Tensor, decisions: Tensor) -> Tensor:
        """The softmax probability of the class."""
        return outputs.softmax(dim=1).gather(1, decisions[:, None])[:, 0]

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy."""
        return torch.nn.functional.cross_entropy(outputs, targets, reduction="none")


@dataclass(frozen=True, kw_only=True)
class Adapter(ABC):
    """The input side: one small class per modality.

    A batch is a sequence (inputs, targets, ...) or a mapping with the keys of `fields`; the adapter never changes it.

    Attributes:
        scoring: The output side.
        bounds: The smallest and largest raw value, e.g. (0, 1) for pixels; None where the data has no natural range.
        fields: Keys of inputs and targets in a batch that is a mapping.
    """

    modality: ClassVar[str]
    unit: ClassVar[str]
    """The unit of the raw values, e.g. "pixel value in [0, 1]"; noise levels and radii are given in it."""

    scoring: Scoring
    bounds: tuple[float, float] | None
    fields: tuple[str, str] = ("inputs", "targets")

    @final
    def inputs(self, batch: Any) -> Tensor:
        """The continuous view: a float tensor (B, ...), in raw units."""
        return batch[self._key(batch, 0)]

    @final
    def targets(self, batch: Any) -> Tensor:
        """What the data says is right: integers, shape (B,)."""
        return batch[self._key(batch, 1)]

    @final
    def replace(self, batch: Any, inputs: Tensor) -> Any:
        """The same batch with other inputs."""
        key = self._key(batch, 0)
        if isinstance(key, str):
            return {**batch, key: inputs}
        return (inputs, *batch[1:])

    @final
    def outputs(self, task: LightningModule, inputs: Tensor) -> Tensor:
        """The task's raw output for raw inputs: logits (B, C)."""
        return task(inputs)

    @final
    def clip(self, inputs: Tensor) -> Tensor:
        """Inputs pushed back into the raw range."""
        return inputs if self.bounds is None else inputs.clamp(*self.bounds)

    def _key(self, batch: Any, place: int) -> str | int:
        return self.fields[place] if isinstance(batch, Mapping) else place

    @abstractmethod
    def features(self, inputs: Tensor) -> Tensor:
        """The unit of attribution that each element belongs to: integers 0 to K-1, shaped as one example.

        A pixel of an image is one unit across its channels; a column of a table is one unit.
        """

    @abstractmethod
    def draw(self, inputs: Tensor, attributions: Tensor, *, titles: Sequence[str]) -> bytes:
        """A PNG with one column per example: the input, and its attribution on one signed scale for all of them.

        An attribution that is zero everywhere is a grey tile, as is every value that is not finite.

        Args:
            inputs: (N, ...) raw.
            attributions: (N, ...) of the same shape.
            titles: N captions.
        """
