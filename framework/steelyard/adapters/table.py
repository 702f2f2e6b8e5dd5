"""Tables of numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from steelyard.adapters import _drawing
from steelyard.adapters.adapter import PairAdapter


@final
@dataclass(frozen=True, kw_only=True)
class TableAdapter(PairAdapter):
    """Rows (B, columns); a column is one unit of attribution.

    Attributes:
        columns: Their names; a column without one goes by its number.
    """

    modality: ClassVar[str] = "table"
    unit: ClassVar[str] = "column value"

    columns: tuple[str, ...] = ()

    def features(self, inputs: Tensor) -> Tensor:
        """The number of the column: shape (columns,)."""
        return torch.arange(inputs.shape[1], device=inputs.device)

    def draw(
        self, batch: Any, attributions: Tensor, *, titles: Sequence[str], decisions: Tensor | None = None
    ) -> bytes:
        """For each row the columns that count most, with their values, as bars to the left and right of zero."""
        del decisions
        inputs = self.field(batch, 0)
        width = inputs.shape[1]
        return _drawing.bars(
            inputs.detach().cpu().double(),
            attributions.detach().cpu().double(),
            titles=titles,
            columns=self.columns if len(self.columns) == width else [f"column {number}" for number in range(width)],
        )
