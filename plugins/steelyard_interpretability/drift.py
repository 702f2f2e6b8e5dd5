"""`interpretability.drift`: when in training did the explanations become what they are?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from steelyard.option import Option
from steelyard.plugin import Plugin
from steelyard.problem import Problem
from steelyard_interpretability._options import MaxMemory, MaxSeconds

if TYPE_CHECKING:
    from steelyard.attachment import Attachment
    from steelyard.draft import Draft


@dataclass(frozen=True, kw_only=True)
class Drift(Plugin):
    """Explains the same validation examples with the weights of several epochs, and holds each against the last.

    What is explained is the finished model's decision, with the weights of each epoch; the agreement of two
    explanations is Spearman's rank correlation over the units of an example. The floor is the agreement of the finished
    model's explanations with those of a copy that has learnt nothing: what the inputs alone bring about.

    The weights are copied at the end of epochs and explained after training, so that training is the same to the bit.
    """

    needs: ClassVar[Mapping[str, str]] = MappingProxyType({"captum": "captum>=0.9,<0.10"})

    method: Annotated[str, Option("method of explanation, by name")] = "integrated_gradients"
    checkpoints: Annotated[
        int,
        Option(
            "weights kept in memory and in checkpoints, at epochs that lie evenly, as many as half of it at least", ge=2
        ),
    ] = 8
    samples: Annotated[int, Option("validation examples to explain, evenly spaced", ge=2)] = 32
    pictures: Annotated[int, Option("how many of them to draw over the epochs", ge=0)] = 4
    baseline: Annotated[
        Literal["mean", "zero"], Option("the input that says nothing: mean of the validation split, or 0 in raw units")
    ] = "mean"
    settled: Annotated[float, Option("agreement with the finished model that counts as settled", gt=0, le=1)] = 0.9
    max_seconds: MaxSeconds = None
    max_memory_mb: MaxMemory = 256.0

    def preflight(self, draft: Draft) -> Iterator[Problem]:
        """A method that nobody knows."""
        del draft
        from steelyard_interpretability.methods.registry import unknown

        for problem in unknown((self.method,), option="interpretability.drift.method"):
            yield Problem(problem.message, fix="interpretability.drift.method=integrated_gradients")

    def attach(self, draft: Draft) -> Attachment:
        """Claims no seam: it copies the weights at the end of epochs."""
        del draft
        from steelyard_interpretability._drift import DriftAttachment

        return DriftAttachment(self)
