"""What happens to rows of numbers (B, columns)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from steelyard_stability.corruptions._dice import Dice

JITTER = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Of a column's standard deviation."""
MISSING = (0.05, 0.1, 0.2, 0.35, 0.5)
"""Share of the columns of a row, at least one."""
UNITS = (1.609, 2.205, 2.54, 10.0, 1000.0)
"""Miles as kilometres, pounds as kilograms, inches as centimetres, a decimal slip, thousands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """What is known of the columns.

    Attributes:
        mean: (columns,).
        deviation: (columns,).
    """

    mean: Tensor
    deviation: Tensor


def jitter(rows: Tensor, severity: int, dice: Dice, *, columns: Columns) -> Tensor:
    """Every value is measured a little wrong."""
    return rows + JITTER[severity - 1] * columns.deviation.to(rows) * dice.normal(rows.shape[1]).to(rows)


def missing(rows: Tensor, severity: int, dice: Dice, *, columns: Columns) -> Tensor:
    """Some values are lost, and the column's mean stands in for them."""
    width = rows.shape[1]
    count = max(1, round(MISSING[severity - 1] * width))
    lost = torch.zeros(len(dice), width, dtype=torch.bool).scatter(1, dice.order(width)[:, :count], True)
    return torch.where(lost.to(rows.device), columns.mean.to(rows), rows)


def unit_slip(rows: Tensor, severity: int, dice: Dice, *, columns: Columns) -> Tensor:
    """One value of the row is given in another unit."""
    del columns
    hit = dice.whole(1, low=0, high=rows.shape[1] - 1).to(rows.device)
    return rows.scatter(1, hit, rows.gather(1, hit) * UNITS[severity - 1])
