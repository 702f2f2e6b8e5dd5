"""`privacy=membership`: can an attacker tell who was in the training data?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from steelyard.option import Option
from steelyard.plugin import Plugin

if TYPE_CHECKING:
    from steelyard.attachment import Attachment
    from steelyard.draft import Draft


@dataclass(frozen=True, kw_only=True)
class Membership(Plugin):
    """Membership inference by the loss (Yeom et al. 2018): who has a small loss is taken for a training example.

    The cheapest of all attacks: what it finds is given away, what it does not find may still be found by others. It
    leaves training as it is. Of a task that predicts tokens, the least likely tokens of each text are looked at, too
    (Min-K%, Shi et al. 2024).
    """

    examples: Annotated[
        int | None,
        Option(
            "largest number of members, and of non-members, to attack; null: as many as the smaller split has", ge=2
        ),
    ] = None
    false_positive_rate: Annotated[
        float, Option("rate of wrongly accused non-members at which the hits are counted", gt=0, lt=1)
    ] = 0.01
    lowest_tokens: Annotated[
        float, Option("share of the least likely tokens of a text by which Min-K% judges it", gt=0, le=1)
    ] = 0.2

    def attach(self, draft: Draft) -> Attachment:
        """An attachment that only looks."""
        del draft
        from steelyard_privacy._membership import MembershipAttack

        return MembershipAttack(self)
