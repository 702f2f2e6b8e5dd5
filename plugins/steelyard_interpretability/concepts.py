"""`interpretability.concepts`: does a concept that people have a word for speak for the decision?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from steelyard.option import Option
from steelyard.plugin import Plugin
from steelyard.problem import Problem
from steelyard_interpretability._options import MaxMemory

if TYPE_CHECKING:
    from steelyard.attachment import Attachment
    from steelyard.draft import Draft

KINDS = ("label", "column", "word", "folder", "rows")


@dataclass(frozen=True, kw_only=True)
class Concepts(Plugin):
    """TCAV (Kim et al. 2018): sensitivity of decisions to concepts that are given by examples.

    A concept is a set of examples; its direction in a layer is the one in which a linear fit tells it from random
    examples of the validation split (least squares with a ridge; several fits, each on other halves). The score is the
    share of explained examples, none of which took part in a fit, for which a step in that direction raises the score
    of the decision.

    Both controls are random concepts, sets of as many random examples that go through all the same steps:

    * held-out accuracy must be at least `least_accuracy` and above that of nearly all random concepts; else the layer
      does not know the concept;
    * the sensitivity (mean cosine of gradient and direction) must lie outside of what random concepts get, by a
      two-sided test of Student with Holm's correction over all concepts and decisions. The score itself is no good
      statistic: close to the output a random direction, too, scores 0 or 1.

    Where one of them fails, the score is `invalid`.

    A set is one of: `label:NAME`, examples of a class; `column:NAME`, rows of a table in the upper quarter of a column
    (or `column:NAME>1.5`, `column:NAME<0`); `word:WORD`, texts with a word; `folder:PATH`, pictures; `rows:PATH`, a
    `.npy` file of inputs in raw units, or a `.txt` file with a text on each line.
    """

    sets: Annotated[
        tuple[str, ...], Option("concepts: label:, column:, word:, folder: or rows: and what it names")
    ] = ()
    layer: Annotated[str | None, Option("layer to look at, by its name in the task; null: about two thirds up")] = None
    decisions: Annotated[int, Option("most frequent decisions to look at, where decisions are classes", ge=1)] = 4
    samples: Annotated[int, Option("validation examples to explain, evenly spaced", ge=2)] = 200
    examples: Annotated[int, Option("other validation examples to draw sets from", ge=20)] = 400
    rows: Annotated[int, Option("most examples in one set", ge=10)] = 100
    counterparts: Annotated[int, Option("random sets that each concept is told from", ge=2)] = 10
    random_concepts: Annotated[int, Option("random concepts as control", ge=10)] = 40
    least_accuracy: Annotated[
        float, Option("held-out accuracy below which the layer does not know a concept", ge=0.5, le=1)
    ] = 0.7
    max_memory_mb: MaxMemory = 256.0

    def preflight(self, draft: Draft) -> Iterator[Problem]:
        """No concept, one that nobody can read, a file that is not there, or a layer that the task does not have."""
        from steelyard_interpretability._concept_sets import complaints
        from steelyard_interpretability.methods.layers import no_such_layer

        option = "interpretability.concepts"
        if not self.sets:
            kinds = ", ".join(f"{kind}:..." for kind in KINDS)
            yield Problem(f"no concept is named: {kinds}", fix=f"{option}.sets=[label:0]")
        yield from complaints(self.sets, option=f"{option}.sets")
        if self.layer is not None:
            yield from no_such_layer(draft.task, self.layer, option=f"{option}.layer")

    def attach(self, draft: Draft) -> Attachment:
        """Claims no seam: it looks at the trained model only."""
        del draft
        from steelyard_interpretability._concepts import ConceptsAttachment

        return ConceptsAttachment(self)
