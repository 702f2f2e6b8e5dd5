"""`stability=consistency`: does the same input get the same answer, whatever stands beside it?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from steelyard.option import Option
from steelyard.plugin import Plugin
from steelyard.problem import Problem

if TYPE_CHECKING:
    from steelyard.attachment import Attachment
    from steelyard.draft import Draft


@dataclass(frozen=True, kw_only=True)
class Consistency(Plugin):
    """Asks about the same test examples in ways that must not matter, and counts the decisions that change.

    * `again`: the same batch a second time. What changes here is chance inside the model.
    * `alone`: each example in a batch of its own. Other sums in another order may move a close decision; more says that
      the examples of a batch influence each other.
    * `order`: the batch backwards.
    * `threads`: one thread of computation (on the CPU).
    * `bfloat16`: multiplied in 16 bits.

    * every symmetry of `symmetries`: the inputs mirrored, turned, or whatever you name.
    * `paraphrase`: both texts of each row of a file of yours.

    A model that writes (a language model, a translator) is also asked to write: `rewritten` counts the answers that are
    not, token by token, what they were, when they are asked for again with the same seed or with another one, in a
    batch of their own, elsewhere in a batch, and after a paraphrase.

    The largest shift of the probability stands beside each share. None of it needs a label.
    """

    examples: Annotated[int, Option("test examples, the first of the split", ge=2)] = 256
    symmetries: Annotated[
        tuple[str, ...],
        Option(
            "what must not matter: mirror, upside_down, half_turn, quarter_turn, transpose, negate, or the path of a "
            "function from inputs (B, ...) to inputs, e.g. mymodule.shifted"
        ),
    ] = ()
    paraphrases: Annotated[
        Path | None, Option("CSV file whose rows hold two texts that mean the same, under a head line; null: none")
    ] = None

    writings: Annotated[
        int, Option("test examples about which a model that writes is to write, the first of the split; 0: none", ge=0)
    ] = 32
    tokens: Annotated[int, Option("tokens that it writes at most", ge=1)] = 24
    opening: Annotated[int, Option("tokens of a text that a language model is to go on from, at most", ge=1)] = 8

    def preflight(self, draft: Draft) -> Iterator[Problem]:
        """Symmetries and the file must be there, and the data must be able to make batches of texts."""
        from steelyard_stability._symmetries import problems

        return problems(self, draft)

    def attach(self, draft: Draft) -> Attachment:
        """Claims no seam: it looks at the trained model only."""
        del draft
        from steelyard_stability._consistency import ConsistencyAttachment

        return ConsistencyAttachment(self)
