"""`compute=progressive_resize`: small images first."""

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
class ProgressiveResize(Plugin):
    """Shrinks the images of the first training steps, from `least` of their sides to all of it (Tan and Le 2021).

    A convolution over an image of half the side costs a quarter. Images are shrunk in raw units, averaged over what
    falls together, and whole when the growing is over; validation and measures see whole ones alone. The most memory
    that training takes stays.
    """

    owns = frozenset({Seam.BATCHES})

    fraction: Annotated[float, Option("part of the training's steps in which images grow", gt=0, le=1)] = 0.5
    least: Annotated[float, Option("part of an image's side at the first step", gt=0, lt=1)] = 0.5
    multiple: Annotated[int, Option("sides on the way are a multiple of this", unit="pixels", ge=1)] = 4

    def preflight(self, draft: Draft) -> Iterator[Problem]:
        """The batches must be images, and the model must take small ones."""
        from steelyard_compute._progressive_resize import problems

        return problems(self, draft)

    def attach(self, draft: Draft) -> Attachment:
        """Shrinks each batch before its step."""
        from steelyard_compute._progressive_resize import ProgressiveResizeAttachment

        return ProgressiveResizeAttachment(self, draft)
