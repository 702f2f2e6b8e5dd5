"""`compute=freeze`: weights that stay as they are cost no gradient and no optimizer state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from steelyard.option import Option
from steelyard.plugin import Plugin
from steelyard.problem import Problem
from steelyard.seam import Seam

if TYPE_CHECKING:
    from steelyard.attachment import Attachment
    from steelyard.draft import Draft


@dataclass(frozen=True, kw_only=True)
class Freeze(Plugin):
    """Leaves some weights as they are, e.g. the body of a model that was trained before.

    Names are those of `LightningModule.named_parameters`; a pattern is matched as the shell matches file names.
    """

    shares = frozenset({Seam.OPTIMIZER})

    weights: Annotated[
        tuple[str, ...], Option("patterns of the weights that are frozen, e.g. model.body.*; none freezes nothing")
    ] = ()
    but: Annotated[tuple[str, ...], Option("patterns of the weights among them that are trained all the same")] = ()

    def preflight(self, draft: Draft) -> Iterator[Problem]:
        """Every pattern must match something, and something must be left to train."""
        from steelyard_compute._freeze import problems

        return problems(self, draft.task)

    def attach(self, draft: Draft) -> Attachment:
        """Takes the weights out of training before the optimizer is made."""
        from steelyard_compute._freeze import FreezeAttachment, frozen

        for weight in frozen(self, draft.task).values():
            weight.requires_grad_(False)
        return FreezeAttachment()
