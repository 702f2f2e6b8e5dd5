"""`interpretability.attribution`: which parts of the input spoke for the decision, and how far may one trust that?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
    from steelyard.measurement import Artefact, Measurement
    from steelyard.stored import StoredRun


@dataclass(frozen=True, kw_only=True)
class Attribution(Plugin):
    """Explanations of the score of the decision by one method or several, with proof beside the picture.

    The numbers are of examples that lie evenly spaced in the validation split: the same ones in every run on the same
    split, so that runs compare example by example. The pictures are of others: where the model does best and worst,
    where it is least certain, and random ones; a mean over those would say nothing of the split. A method that
    would be wrong on this model is refused by name. Three questions decide how far an explanation may be trusted:

    * Are they complete? They must add up to the score of the input minus the score of the baseline, where the method
      promises it. The steps of Integrated Gradients (Sundararajan et al. 2017) double until that holds; an example
      where it never does is flagged.
    * Are they faithful? With the units (pixels, columns) set to the baseline, most important first, the probability of
      the decision must fall faster than in random order (deletion, Samek et al. 2017).
    * Do they depend on what the model has learnt? Explanations of a copy with re-initialised weights (Adebayo et al.
      2018) must do worse on the trained model. Where they do not, the deletion score is `invalid`: it would be owed to
      the input and not to the model.

    With `layer` the units are those of the layer (channels, places or elements), every method is Captum's layer method,
    and removal sets them to what they are for the baseline; with `neuron` beside it the inputs explain the value of the
    neuron, as Captum's neuron methods do, and certainty in the numbers' meanings is that value.

    Runs that explained the same examples compare by the rank correlation of their explanations, at most 64 parts an
    example, beside that of runs that differ in their seed alone: without it the luck of training looks like an effect.

    Deletion shares the baseline with the explanation and shows the model inputs unlike its training data, so it
    compares orders on one model and is no probability of the real world.
    """

    needs: ClassVar[Mapping[str, str]] = MappingProxyType({"captum": "captum>=0.9,<0.10"})

    methods: Annotated[tuple[str, ...], Option("methods of explanation, by name, side by side in the picture")] = (
        "integrated_gradients",
    )
    samples: Annotated[int, Option("validation examples to explain, evenly spaced, for the numbers", ge=2)] = 64
    pictures: Annotated[int, Option("validation examples to draw", ge=0)] = 8
    shown: Annotated[
        tuple[Literal["best", "worst", "uncertain", "random"], ...],
        Option("which to draw, in turn: smallest loss, largest loss, least certain, by the seed"),
    ] = ("best", "worst", "uncertain", "random")
    baseline: Annotated[
        Literal["mean", "zero"], Option("the input that says nothing: mean of the validation split, or 0 in raw units")
    ] = "mean"
    tolerance: Annotated[
        float, Option("completeness error, as a fraction of the explained difference, that counts as converged", gt=0)
    ] = 0.05
    max_steps: Annotated[int, Option("most steps; they double from 7 to 15, 31 and further", ge=7)] = 512
    removals: Annotated[int, Option("points of the deletion curve after the untouched input", ge=2)] = 10
    random_orders: Annotated[int, Option("random orders per example to compare with", ge=1)] = 8
    layer: Annotated[
        str | None, Option("layer to explain by what it gives, instead of by the inputs; its name in the task")
    ] = None
    neuron: Annotated[
        tuple[int, ...],
        Option("place of a neuron in what the layer gives: explain its value by the inputs, instead of the decision"),
    ] = ()
    cam_layer: Annotated[str | None, Option("layer that grad_cam looks at; null: the last spatial one")] = None
    background: Annotated[int, Option("validation examples that stand for all in deep_lift_shap", ge=1)] = 50
    max_seconds: MaxSeconds = None
    max_memory_mb: MaxMemory = 256.0

    def preflight(self, draft: Draft) -> Iterator[Problem]:
        """A method that nobody knows, one that lacks its layer, a layer that is none, and pictures of nothing."""
        from steelyard_interpretability.methods.layers import no_such_layer
        from steelyard_interpretability.methods.registry import lacking, unknown

        option = "interpretability.attribution"
        yield from unknown(self.methods, option=f"{option}.methods")
        yield from lacking(self.methods, layer=self.layer, neuron=self.neuron, task=lambda: draft.task, option=option)
        for name, layer in (("layer", self.layer), ("cam_layer", self.cam_layer)):
            if layer is not None:
                yield from no_such_layer(draft.task, layer, option=f"{option}.{name}")
        if self.pictures and not self.shown:
            yield Problem("no kind of example is chosen to be drawn", fix="interpretability.attribution.pictures=0")

    def attach(self, draft: Draft) -> Attachment:
        """Claims no seam: it looks at the trained model only."""
        del draft
        from steelyard_interpretability._attribution import AttributionAttachment

        return AttributionAttachment(self)

    def compare(self, runs: Sequence[StoredRun]) -> Iterator[Measurement | Artefact]:
        """Whether the explanations of two configs differ by more than those of two seeds of one do."""
        from steelyard_interpretability._alike import compared

        return compared(runs)
