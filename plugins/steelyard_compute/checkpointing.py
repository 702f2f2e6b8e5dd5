"""`compute=checkpointing`: less memory for activations, more time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from steelyard.lever import Lever
from steelyard.option import Option
from steelyard.plugin import Plugin
from steelyard.problem import Problem
from steelyard.seam import Seam

if TYPE_CHECKING:
    from steelyard.attachment import Attachment
    from steelyard.draft import Draft


@dataclass(frozen=True, kw_only=True)
class Checkpointing(Plugin):
    """Forgets what some layers computed and computes it again in the backward pass (Chen et al. 2016), non-reentrant.

    The gradients stay the same: what the layers draw (dropout) is drawn again from the same random stream.
    """

    shares = frozenset({Seam.GRAPH})
    lever = Lever(costs="", exact=True)

    layers: Annotated[
        tuple[str, ...],
        Option("patterns of the layers' names, e.g. model.blocks.*; none: every layer of every list of layers"),
    ] = ()

    def preflight(self, draft: Draft) -> Iterator[Problem]:
        """There must be layers of that name, and none of them recurrent over the batches (BatchNorm)."""
        from steelyard_compute._checkpointing import problems

        return problems(self, draft.task)

    def attach(self, draft: Draft) -> Attachment:
        """Wraps the step: the layers are checkpointed inside it, and themselves outside."""
        from steelyard_compute._checkpointing import CheckpointingAttachment

        attachment = CheckpointingAttachment(self, draft.task)
        draft.steps[Seam.GRAPH].append(attachment.wrap)
        return attachment
