# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""One-to-one assignment of objects to what was found."""

from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from steelyard.detection.boxes import overlap, there

ENOUGH = 0.5
"""Overlap from which two boxes mean the same object (Everingham et al. 2010)."""


def cheapest(costs: Tensor, present: Tensor) -> Tensor:
    """The query that each object gets, so that the sum of the costs is smallest (Kuhn 1955).

    Args:
        costs: (..., queries, objects); what is no number is never chosen where there is a choice.
        present: Which objects exist, broadcast to (..., objects); at most as many as queries.

    Returns:
        (..., objects) numbers of queries; 0 for an object that does not exist.
    """
    shape = (*costs.shape[:-2], costs.shape[-1])
    if costs.is_meta:
        # A plan counts operations, and they are the same for every assignment.
        return torch.zeros(shape, dtype=torch.long, device=costs.device)
    limit = torch.finfo(costs.dtype).max / 1e6
    tables = costs.nan_to_num(nan=limit, posinf=limit, neginf=-limit).flatten(end_dim=-3).cpu().numpy()
    rows = present.expand(shape).flatten(end_dim=-2).cpu().numpy()
    chosen = torch.zeros(len(tables), shape[-1], dtype=torch.long)
    for table, row, place in zip(tables, rows, chosen, strict=True):
        queries, objects = linear_sum_assignment(table[:, row])
        place[torch.from_numpy(row.nonzero()[0][objects])] = torch.from_numpy(queries)
    return chosen.reshape(shape).to(costs.device)


def pairs(one: Tensor, other: Tensor) -> Tensor:
    """How many objects of one picture can be paired with one of the other, of the same class and with enough overlap.

    Args:
        one: (B, K, 5) classes and boxes, rows of IGNORED for none.
        other: (B, L, 5).

    Returns:
        (B,) integers: the largest number of pairs in which nobody occurs twice.
    """
    same = one[:, :, None, 0] == other[:, None, :, 0]
    near = overlap(one[:, :, None, 1:], other[:, None, :, 1:]) >= ENOUGH
    fits: Any = (same & near & there(one)[:, :, None] & there(other)[:, None, :]).cpu().numpy()
    counts = [int(table[linear_sum_assignment(table, maximize=True)].sum()) for table in fits]
    return torch.tensor(counts, dtype=torch.long, device=one.device)
