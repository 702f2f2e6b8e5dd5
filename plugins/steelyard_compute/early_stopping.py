"""`compute=early_stopping`: no more epochs than help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from steelyard.option import Option
from steelyard.plugin import Plugin
from steelyard.seam import Seam

if TYPE_CHECKING:
    from steelyard.attachment import Attachment
    from steelyard.draft import Draft


@dataclass(frozen=True, kw_only=True)
class EarlyStopping(Plugin):
    """Ends the training when a validation metric has stopped getting better (Prechelt 1998), by Lightning's callback.

    What is measured on the validation split afterwards is a little too good, since the end was chosen by it. The
    weights are those of the last epoch, not of the best one.
    """

    shares = frozenset({Seam.LENGTH})

    monitor: Annotated[str, Option("metric that the task logs")] = "val_loss"
    mode: Annotated[Literal["min", "max"], Option("which way is better")] = "min"
    patience: Annotated[int, Option("validations without getting better that are waited for", ge=0)] = 3
    min_delta: Annotated[float, Option("least change that counts as better", ge=0)] = 0.0

    def attach(self, draft: Draft) -> Attachment:
        """Watches the metric; the Trainer ends by its own means."""
        del draft
        from steelyard_compute._early_stopping import EarlyStoppingAttachment

        return EarlyStoppingAttachment(self)
