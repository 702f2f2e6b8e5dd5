"""`privacy=group_norm`: normalisation that looks at one example at a time."""

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
class GroupNormalisation(Plugin):
    """Puts group normalisation (Wu and He 2018) in the place of every batch normalisation.

    Batch normalisation mixes the examples of a batch and keeps running statistics of them, so that no training with it
    is private. Scales and shifts are kept; the running statistics of a model that was trained before are lost, and it
    has to be trained again.
    """

    shares = frozenset({Seam.MODULES})

    groups: Annotated[
        int, Option("groups of channels that are normalised together; fewer where they do not divide them", ge=1)
    ] = 8

    def preflight(self, draft: Draft) -> Iterator[Problem]:
        """Which layers are replaced, and which cannot be."""
        from steelyard_privacy._group_norm import problems

        return problems(draft.task)

    def attach(self, draft: Draft) -> Attachment:
        """Replaces the layers in place."""
        from steelyard_privacy._group_norm import attach

        return attach(self, draft)
