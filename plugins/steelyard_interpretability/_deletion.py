"""Deletion: what becomes of the decision while the input's units are set to the baseline, one after another."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

Probability = Callable[[Tensor], Tensor]
"""Inputs (N, ...) -> the probability of each example's first decision (N,)."""


def importance(attributions: Tensor, *, units: Tensor) -> Tensor:
    """Sum of the attributions in each unit: (N, K).

    Args:
        attributions: (N, ...).
        units: The unit of each element, 0 to K-1, shaped as one example.
    """
    sums = attributions.new_zeros(len(attributions), int(units.max()) + 1)
    return sums.index_add_(1, units.flatten(), attributions.flatten(1))


def ranks_by(values: Tensor, *, present: Tensor | None = None) -> Tensor:
    """The place of each unit in the order of removal, largest value first: (N, K); ties keep the units' own order.

    An example with fewer units than K spreads them over all places, so that at every point of the curve each example
    has lost the same share of its own; what is not present goes never.

    Args:
        values: (N, K).
        present: Which units an example has (N, K), at least one; None for all.
    """
    if present is None:
        present = torch.ones_like(values, dtype=torch.bool)
    units, known = values.shape[1], values.double().masked_fill(~present, -torch.inf)
    order = known.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return torch.where(present, order * units // present.sum(dim=1, keepdim=True), units)


def random_ranks(seed: int, *, numbers: Sequence[int], units: int, orders: int) -> Tensor:
    """`orders` random orders for every example: (orders, N, K).

    Args:
        seed: The seed of the run.
        numbers: Places of the examples in their split: an example keeps its orders whatever stands beside it.
        units: K.
        orders: Orders per example.
    """
    rows = [
        [stream.permutation(units) for _ in range(orders)]
        for stream in (np.random.default_rng([seed, number]) for number in numbers)
    ]
    return torch.as_tensor(np.array(rows)).transpose(0, 1)


def removal_counts(units: int, *, points: int) -> list[int]:
    """How many units are gone at each point of the curve: 0 first, all last; fewer points where there are few units."""
    return sorted({round(units * point / points) for point in range(points + 1)})


def deletion_curve(
    probability: Probability,
    *,
    inputs: Tensor,
    baselines: Tensor,
    units: Tensor,
    ranks: Tensor,
    counts: Sequence[int],
) -> Tensor:
    """The probability at every point of the curve: (N, points).

    Args:
        probability: Of the decision that is followed.
        inputs: (N, ...).
        baselines: (N, ...), what a removed element becomes.
        units: The unit of each element, shaped as one example.
        ranks: The place of each unit in the order of removal (N, K).
        counts: Units removed at each point.
    """
    place = ranks.to(inputs.device)[:, units]
    return torch.stack([probability(torch.where(place < count, baselines, inputs)) for count in counts], dim=1)


def area(curve: Tensor, *, counts: Sequence[int]) -> Tensor:
    """Area under each example's curve over the removed fraction, by trapezoids: (N,), between 0 and 1."""
    fractions = torch.tensor([count / counts[-1] for count in counts], dtype=curve.dtype, device=curve.device)
    return torch.trapezoid(curve, fractions, dim=1)
