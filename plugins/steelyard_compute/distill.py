"""`compute=distill`: a small model learns from the answers of a large one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from steelyard.option import Option
from steelyard.plugin import Plugin
from steelyard.problem import Problem
from steelyard.seam import Seam

if TYPE_CHECKING:
    from steelyard.attachment import Attachment
    from steelyard.draft import Draft


@dataclass(frozen=True, kw_only=True)
class Distill(Plugin):
    """Adds to the loss how far the model's answers are from those of a teacher (Hinton et al. 2015).

    The loss becomes (1 - weight) * loss + weight * T^2 * KL(teacher || model), both softened by the temperature T. The
    teacher is a run of Steelyard that kept its checkpoint, trained without plugins that change layers; it stays as it
    is. The data are those of this run, so both must mean the same by each class or token.

    It claims the gradients, too: what a teacher has learned from the same examples without protection passes into them,
    and no accountant of private training would know.
    """

    shares = frozenset({Seam.OBJECTIVE, Seam.GRADIENTS})

    teacher: Annotated[Path | None, Option("run folder of the teacher, with checkpoints/last.ckpt")] = None
    weight: Annotated[float, Option("share of the teacher in the loss", gt=0, le=1)] = 0.5
    temperature: Annotated[float, Option("what logits are divided by", gt=0)] = 2.0

    def preflight(self, draft: Draft) -> Iterator[Problem]:
        """The teacher must be there."""
        from steelyard_compute._distill import problems

        return problems(self, draft)

    def attach(self, draft: Draft) -> Attachment:
        """Builds the teacher from its folder, and wraps the objective."""
        from steelyard_compute._distill import attach

        return attach(self, draft)
