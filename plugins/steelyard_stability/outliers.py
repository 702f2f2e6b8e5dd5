"""`stability=outliers`: does the model notice inputs that are like nothing it has learned from?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from steelyard.option import Option
from steelyard.plugin import Plugin
from steelyard.problem import Problem
from steelyard_stability.corruptions.kinds import kinds_of

if TYPE_CHECKING:
    from steelyard.attachment import Attachment
    from steelyard.draft import Draft


@dataclass(frozen=True, kw_only=True)
class Outliers(Plugin):
    """Ranks test examples against strange inputs by how sure the model is, and by how far they lie from familiar ones.

    Four scores: the highest softmax probability (Hendrycks and Gimpel 2017), the free energy of the logits (Liu et al.
    2020), the Mahalanobis distance to the nearest class (Lee et al. 2018) and the distance to the k-th nearest familiar
    example (Sun et al. 2022); the two distances are between the inputs of the model's last linear layer, and what is
    familiar are the validation examples. Each is told by the probability that it ranks a strange input above a test
    example: 1 is perfect, 0.5 is chance.

    Strange are, always, noise in the range of the data (`far_noise`) and test examples with their values shuffled
    (`shuffled`); and what `against` names.
    """

    against: Annotated[
        tuple[str, ...], Option("kinds of corruption that count as strange, too, at severity 5, e.g. fog")
    ] = ()
    examples: Annotated[int, Option("examples of each sort at most, the first of the split", ge=10)] = 500
    neighbours: Annotated[int, Option("the neighbour whose distance counts", ge=1)] = 10

    def preflight(self, draft: Draft) -> Iterator[Problem]:
        """Kinds that the modality knows."""
        known = kinds_of(draft.adapter.modality)
        for kind in self.against:
            if kind not in known:
                yield Problem(
                    f"{draft.adapter.modality} has no kind of corruption {kind!r} (known: {', '.join(known)})",
                    fix=f"stability.outliers.against=[{known[0]}]",
                )

    def attach(self, draft: Draft) -> Attachment:
        """Claims no seam: it looks at the trained model only."""
        del draft
        from steelyard_stability._outliers import OutliersAttachment

        return OutliersAttachment(self)
