"""`compute.cost`: what did this model and this training cost?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from steelyard.plugin import Plugin

if TYPE_CHECKING:
    from steelyard.attachment import Attachment
    from steelyard.draft import Draft


@dataclass(frozen=True, kw_only=True)
class Cost(Plugin):
    """Parameters, FLOPs, time, throughput and memory of the run, and the seconds that each plugin took of it.

    One FLOP is one multiplication or one addition, so a multiply-accumulate is two. Counted are matrix products,
    convolutions and attention by the formulas of `torch.utils.flop_counter`; heavy operations without a formula are
    named in the note. FLOPs of a step are those of the first real training step: forward, backward and optimizer, with
    everything that other plugins do inside it.

    What a plugin costs inside the step comes from comparing with a run without it (`steelyard compare`).
    """

    def attach(self, draft: Draft) -> Attachment:
        """Claims no seam: it reads clocks, and sees the operations of one step pass by."""
        from steelyard_compute._cost import CostAttachment

        return CostAttachment(draft.adapter)
