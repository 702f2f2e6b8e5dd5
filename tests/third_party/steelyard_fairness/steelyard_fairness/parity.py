"""`fairness.parity`: how far apart are the groups that the model serves best and worst?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from steelyard import Option, Plugin

if TYPE_CHECKING:
    from steelyard import Attachment, Draft


@dataclass(frozen=True, kw_only=True)
class Parity(Plugin):
    """The gap in accuracy between the best and the worst served class.

    The interval of the gap follows from exact intervals of all classes that hold together (Bonferroni), so it covers
    the true gap at least as often as it says, though the classes were chosen by looking at the data.
    """

    split: Annotated[Literal["val", "test"], Option("the data that is looked at")] = "test"
    least: Annotated[int, Option("classes with fewer examples are left out", unit="examples", ge=1)] = 5

    def attach(self, draft: Draft) -> Attachment:
        """Claims no seam."""
        del draft
        from steelyard_fairness._parity import ParityAttachment

        return ParityAttachment(self)
