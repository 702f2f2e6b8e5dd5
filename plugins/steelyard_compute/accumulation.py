"""`compute=accumulation`: the batch of a large machine on a small one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from steelyard.lever import Lever
from steelyard.option import Option
from steelyard.plugin import Plugin
from steelyard.seam import Seam

if TYPE_CHECKING:
    from steelyard.attachment import Attachment
    from steelyard.draft import Draft


@dataclass(frozen=True, kw_only=True)
class Accumulation(Plugin):
    """Adds up the gradients of several batches before each step: memory of one batch, gradient of all of them.

    Each batch counts alike, so the gradient is that of the large batch where the loss is a mean over examples and the
    batches are of one size; the last batches of an epoch may be fewer, and a step is then made of what there is.
    """

    owns = frozenset({Seam.BATCHES})
    lever = Lever(costs="", exact=True, multiplies="batches")

    batches: Annotated[int, Option("batches whose gradients make one step", ge=2)] = 4

    def attach(self, draft: Draft) -> Attachment:
        """Sets the Trainer's accumulation."""
        from steelyard_compute._accumulation import AccumulationAttachment

        draft.trainer["accumulate_grad_batches"] = self.batches
        return AccumulationAttachment(draft.adapter)
