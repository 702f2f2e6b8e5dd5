"""`interpretability.influence`: which training examples spoke for a decision, and which are at odds with all others?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from steelyard.option import Option
from steelyard.plugin import Plugin
from steelyard.problem import Problem
from steelyard_interpretability._options import MaxMemory, MaxSeconds

if TYPE_CHECKING:
    from steelyard.attachment import Attachment
    from steelyard.draft import Draft


@dataclass(frozen=True, kw_only=True)
class Influence(Plugin):
    """TracIn (Pruthi et al. 2020) over weights that are kept while training, by the gradients of the last layer.

    The influence of a training example on a decision is the sum, over the kept weights, of the learning rate times the
    product of the two losses' gradients: how much a step on the one lowers the loss of the other. The loss of an
    explained example is that of its decision, right or wrong. Gradients are those of the linear layer that gives the
    logits, in closed form, as in the paper's section 4.2; with another optimizer than SGD the learning rate is not the
    step.

    The control looks at all weights: a step on the examples that are named must lower the loss of the decision more
    than one on random examples of the same labels. Where it does not, what the last layer sees says nothing of this
    model, and every number is `invalid`.

    Training examples with a large influence on themselves are often mislabelled or odd.

    All of it tells of training records, which no privacy budget covers; every number and table says so by its split,
    and beside a plugin that keeps such a budget it runs only with `training_records=true`.
    """

    checkpoints: Annotated[
        int,
        Option(
            "weights kept in memory and in checkpoints, at epochs that lie evenly, as many as half of it at least", ge=2
        ),
    ] = 4
    samples: Annotated[int, Option("validation examples to explain, evenly spaced", ge=2)] = 16
    examples: Annotated[int, Option("training examples to look at, evenly spaced", ge=2)] = 2000
    top: Annotated[int, Option("training examples to name for each, on either side", ge=1)] = 3
    suspects: Annotated[int, Option("training examples to name for their influence on themselves", ge=0)] = 10
    training_records: Annotated[
        bool, Option("tell of training records even where a privacy budget is kept, which does not cover it")
    ] = False
    max_seconds: MaxSeconds = None
    max_memory_mb: MaxMemory = 256.0

    def preflight(self, draft: Draft) -> Iterator[Problem]:
        """Telling of training records of a private run, unasked."""
        if draft.spenders and not self.training_records:
            yield Problem(
                f"it tells of training records, and the privacy budget that {' and '.join(draft.spenders)} keeps does "
                "not cover that",
                fix="interpretability.influence.training_records=true",
            )

    def attach(self, draft: Draft) -> Attachment:
        """Claims no seam: it copies the weights at the end of epochs."""
        del draft
        from steelyard_interpretability._influence import InfluenceAttachment

        return InfluenceAttachment(self)
