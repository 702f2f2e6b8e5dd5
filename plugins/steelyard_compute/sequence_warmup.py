"""`compute=sequence_warmup`: short texts first."""

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
class SequenceWarmup(Plugin):
    """Cuts the texts of the first training steps, from `least` tokens to all in a straight line (Li et al. 2022).

    Attention over short texts is cheap, and the first steps, which are the wildest, vary less. What is cut is not
    learned from: a text is seen as a whole only when the warm-up is over. The most memory that training takes stays.
    """

    owns = frozenset({Seam.BATCHES})

    fraction: Annotated[float, Option("part of the training's steps that the warm-up takes", gt=0, le=1)] = 0.3
    least: Annotated[int, Option("tokens of a text at the first step", ge=2)] = 8
    multiple: Annotated[int, Option("lengths on the way are a multiple of this", ge=1)] = 8

    def preflight(self, draft: Draft) -> Iterator[Problem]:
        """The batches must be texts in mappings, of a known greatest length."""
        from steelyard_compute._sequence_warmup import problems

        return problems(draft)

    def attach(self, draft: Draft) -> Attachment:
        """Cuts each batch before its step."""
        from steelyard_compute._sequence_warmup import SequenceWarmupAttachment

        return SequenceWarmupAttachment(self, draft)
