"""`stability=corruptions`: how often does the answer stay when the input is damaged as inputs are in the world?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated

from steelyard.option import Option
from steelyard.plugin import Plugin
from steelyard.problem import Problem
from steelyard_stability.corruptions.kinds import SEVERITIES, kinds_of

if TYPE_CHECKING:
    from steelyard.attachment import Attachment
    from steelyard.draft import Draft


@dataclass(frozen=True, kw_only=True)
class Corruptions(Plugin):
    """Damages test examples in many ways and counts the answers that stay; needs no label for that.

    What can happen is the adapter's modality: the fifteen kinds of ImageNet-C for images (Hendrycks and Dietterich
    2019), at any size; frames lost or out of order for videos, beside those; noise at an exact ratio, gain, clipping,
    band limit, shift and reverberation for sounds; jitter, missing values and unit slips for tables; typing and
    scanning mistakes, case, white space, punctuation, homophones, the order of options and frames of a prompt for texts
    in English and Chinese. Each kind has severities 1 to 5.

    What happens to an example depends on the seed of the run, the kind, the severity and its place in the split, not on
    the batch. A text keeps its numbers, negations and names, and a budget limits the words that are edited.

    The undamaged example is asked again as a control: a model whose output moves there is not deterministic, and then
    every number of this plugin is `invalid`. So it is where the model gives one answer to everything.
    """

    kinds: Annotated[tuple[str, ...], Option("what happens to an example; none for all that the modality knows")] = ()
    severities: Annotated[tuple[int, ...], Option("how badly, each from 1 to 5")] = SEVERITIES
    examples: Annotated[int, Option("test examples at most, the first of the split", ge=2)] = 1000
    budget: Annotated[float, Option("largest share of the words of a text that is edited", gt=0, le=1)] = 0.5
    protected: Annotated[
        tuple[str, ...], Option("words of a text that are never edited, beside numbers, negations and names")
    ] = ()
    templates: Annotated[
        tuple[str, ...], Option("frames of a prompt with {text} in them, for severity 1 and on; none for five of ours")
    ] = ()
    max_seconds: Annotated[
        float | None,
        Option("after which no more examples are damaged; the numbers say so; null: no limit", unit="seconds", gt=0),
    ] = 60.0
    shown: Annotated[int, Option("examples in the picture of those that changed most easily", ge=0)] = 6

    def preflight(self, draft: Draft) -> Iterator[Problem]:
        """Kinds that the modality knows, severities from 1 to 5, templates with a place for the text."""
        known = kinds_of(draft.adapter.modality)
        for kind in self.kinds:
            if kind not in known:
                nearest = get_close_matches(kind, known, n=1) or known[:1]
                yield Problem(
                    f"{draft.adapter.modality} has no kind of corruption {kind!r} (known: {', '.join(known)})",
                    fix=f"stability.corruptions.kinds=[{nearest[0]}]",
                )
        if not self.severities or not set(self.severities) <= {*SEVERITIES}:
            yield Problem(
                f"severities {[*self.severities]} must be whole numbers from 1 to 5, and at least one",
                fix="stability.corruptions.severities=[1,3,5]",
            )
        for frame in self.templates:
            if "{text}" not in frame:
                yield Problem(
                    f"the template {frame!r} has no place for the text", fix="stability.corruptions.templates=[]"
                )

    def attach(self, draft: Draft) -> Attachment:
        """Claims no seam: it looks at the trained model only."""
        del draft
        from steelyard_stability.corruptions._attachment import CorruptionsAttachment

        return CorruptionsAttachment(self)
