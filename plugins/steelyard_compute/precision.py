"""`compute=precision`: numbers of 16 bits in training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from steelyard.lever import Lever
from steelyard.option import Option
from steelyard.plugin import Plugin
from steelyard.seam import Seam

if TYPE_CHECKING:
    from steelyard.attachment import Attachment
    from steelyard.draft import Draft


@dataclass(frozen=True, kw_only=True)
class Precision(Plugin):
    """Trains in bfloat16 (Kalamkar et al. 2019), and says how many answers depend on the number format.

    bfloat16 has the range of 32 bits, so the loss needs no scaling. `bf16-mixed` keeps weights and optimizer in 32 bits
    and multiplies in 16; `bf16-true` keeps everything in 16, which halves the memory and loses small updates.
    """

    owns = frozenset({Seam.PRECISION})
    lever = Lever(costs="products are rounded to 16 bits, so that answers near a border may change")

    format: Annotated[Literal["bf16-mixed", "bf16-true"], Option("number format, as `trainer.precision` calls it")] = (
        "bf16-mixed"
    )

    def attach(self, draft: Draft) -> Attachment:
        """Sets the Trainer's precision."""
        from steelyard_compute._precision import PrecisionAttachment

        draft.trainer["precision"] = self.format
        return PrecisionAttachment()
