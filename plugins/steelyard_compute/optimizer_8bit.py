"""`compute=optimizer_8bit`: Adam's state in 8 bits."""

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
class Optimizer8bit(Plugin):
    """Keeps both moments of Adam and AdamW in 8 bits with a scale for each block, a quarter of the memory.

    As Dettmers et al. (2022) do, but the levels are those of a square root in place of a table, and rounding is random,
    so that small changes of the second moment are not lost and its mean stays right. Weights and gradients are as they
    were; a weight is updated in up to 8 parts, so that no 32 bit copy of a whole state ever exists. Small weights
    (biases, norms) keep torch's own state.
    """

    shares = frozenset({Seam.OPTIMIZER})
    lever = Lever(costs="the optimizer's moments are rounded to 8 bits, at random")

    block: Annotated[int, Option("numbers that share a scale", ge=16)] = 256
    least: Annotated[int, Option("weights with fewer numbers keep 32 bits", ge=1)] = 4096

    def attach(self, draft: Draft) -> Attachment:
        """Takes over the step of the optimizer for the large weights; learning rate schedules go on as they were."""
        from steelyard_compute._optimizer_8bit import Optimizer8bitAttachment

        attachment = Optimizer8bitAttachment(self, seed=draft.seed)
        draft.optimizers.append(attachment.wrap)
        return attachment
