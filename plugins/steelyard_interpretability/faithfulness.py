"""`interpretability=faithfulness`: which explanations are worth their picture, and which are not?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
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
class Faithfulness(Plugin):
    """Holds several methods of explanation, on the same examples, against controls that know nothing of the model.

    Every method gets a trust panel beside its picture. It is trusted if all four hold, each at 95 %:

    * removing what it calls important costs the decision more than a random order does (deletion),
    * and more than blurred noise does: taking away whole regions hurts more than scattered units, right or wrong;
    * and more than the explanation of a copy whose weights are re-initialised;
    * and that copy's explanation is another one (rank correlation below 0.9): an edge detector's would be the same.

    Where one fails, the numbers of that method are `invalid`, with the reason. Each number has a bias, which its note
    names: removal shows the model inputs that it has never seen, and prefers smooth maps; none of them alone is truth.
    """

    needs: ClassVar[Mapping[str, str]] = MappingProxyType({"captum": "captum>=0.9,<0.10"})

    methods: Annotated[tuple[str, ...], Option("methods of explanation, by name")] = (
        "integrated_gradients",
        "input_x_gradient",
        "ablation",
    )
    samples: Annotated[int, Option("validation examples to explain", ge=2)] = 8
    pictures: Annotated[int, Option("how many of them to draw for each method", ge=0)] = 4
    baseline: Annotated[
        Literal["mean", "zero"], Option("the input that says nothing: mean of the validation split, or 0 in raw units")
    ] = "mean"
    removals: Annotated[int, Option("points of the curves after the untouched input", ge=2)] = 10
    random_orders: Annotated[int, Option("random orders per example to compare with", ge=1)] = 8
    stages: Annotated[int, Option("steps in which the layers lose their weights, from the top down", ge=1)] = 4
    draws: Annotated[int, Option("sets of units that infidelity takes away, per example", ge=2)] = 64
    neighbours: Annotated[
        int, Option("inputs close by that max-sensitivity explains, per example; 0 for none", ge=0)
    ] = 4
    radius: Annotated[
        float, Option("how close, as a fraction of the inputs' standard deviation in the split", gt=0)
    ] = 0.02
    quantus: Annotated[
        tuple[str, ...], Option("further measures, by the names of Quantus' classes; asks for steelyard[quantus]")
    ] = ()
    masks: Annotated[
        str | None,
        Option("file .npy that says where the truth lies: masks of the examples of the validation split, in its order"),
    ] = None
    max_seconds: MaxSeconds = None
    max_memory_mb: MaxMemory = 256.0

    def preflight(self, draft: Draft) -> Iterator[Problem]:
        """A method that nobody knows, a measure twice or without its library, and masks that are not there."""
        del draft
        from steelyard_interpretability.methods.registry import unknown

        yield from unknown(self.methods, option="interpretability.faithfulness.methods")
        if self.quantus and find_spec("quantus") is None:
            yield Problem(
                "quantus is not installed (pip install 'steelyard[quantus]')",
                fix="interpretability.faithfulness.quantus=[]",
            )
        if len({*self.quantus}) < len(self.quantus):
            once = ",".join(dict.fromkeys(self.quantus))
            yield Problem("a measure of Quantus is named twice", fix=f"interpretability.faithfulness.quantus=[{once}]")

        if self.masks is not None and not Path(self.masks).is_file():
            yield Problem(f"{self.masks} is no file", fix="interpretability.faithfulness.masks=null")

    def attach(self, draft: Draft) -> Attachment:
        """Claims no seam: it looks at the trained model only."""
        del draft
        from steelyard_interpretability._faithfulness import FaithfulnessAttachment

        return FaithfulnessAttachment(self)
