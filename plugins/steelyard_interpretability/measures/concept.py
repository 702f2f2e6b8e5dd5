# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
"""Directions of concepts, in the dual: all that is asked of them are products of examples."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

RIDGE = 1.0
"""As a part of the examples' mean square: there are often fewer examples than features."""
FITTED = 2 / 3
"""Of each set; the others are held out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Direction:
    """What one fit says.

    Attributes:
        accuracy: On the examples that were held out, 0 to 1.
        slopes: Derivative of each explained score along the direction of length 1 (N,).
    """

    accuracy: float
    slopes: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """What several fits of one concept say.

    Attributes:
        accuracies: Held out, of each fit (T,).
        rises: Whether each explained score rises in the direction of each fit; one that stays counts half (T, N).
        cosines: Of each explained gradient and the direction of each fit (T, N).
    """

    accuracies: Tensor
    rises: Tensor
    cosines: Tensor


def solved(products: Tensor, signs: Tensor) -> Tensor:
    """Least squares with a ridge and a free intercept: weights of the examples, then the intercept (n + 1,).

    The direction is the sum of the examples by these weights, which add up to 0.

    Args:
        products: Of the examples with each other (n, n).
        signs: 1 or -1 (n,).
    """
    count = len(products)
    ridge = RIDGE * float(products.diagonal().mean() - products.mean()) + 1e-12
    system = products.new_zeros(count + 1, count + 1)
    system[:count, :count] = products + ridge * torch.eye(count, dtype=products.dtype)
    system[:count, count] = system[count, :count] = 1
    solve: Any = torch.linalg.solve
    return solve(system, torch.cat([signs, signs.new_zeros(1)]))


def direction(products: Tensor, gradients: Tensor, *, ours: NDArray[np.int64], theirs: NDArray[np.int64]) -> Direction:
    """The direction from some examples to others.

    Args:
        products: Of all examples with each other (M, M).
        gradients: Products of each explained score's gradient with each example (N, M).
        ours: Places of the concept's examples in random order.
        theirs: Places of as many others.
    """
    count = len(ours)
    fitted = min(count - 1, max(1, round(FITTED * count)))
    used = torch.as_tensor(np.concatenate([ours[:fitted], theirs[:fitted]]))
    spare = torch.as_tensor(np.concatenate([ours[fitted:], theirs[fitted:]]))
    signs = torch.cat([torch.ones(fitted), -torch.ones(fitted)]).to(products)
    found = solved(products[used][:, used], signs)
    weights, start = found[:-1], found[-1]
    said = products[spare][:, used] @ weights + start
    truth = torch.cat([torch.ones(count - fitted), -torch.ones(count - fitted)]).to(said)
    length = (weights @ products[used][:, used] @ weights).clamp(min=1e-30).sqrt()
    return Direction(
        accuracy=float((said.sign() == truth).double().mean()),
        slopes=gradients[:, used] @ weights / length,
    )


def weighed(
    products: Tensor,
    gradients: Tensor,
    lengths: Tensor,
    *,
    concept: NDArray[np.int64] | None,
    others: NDArray[np.int64],
    size: int,
    fits: int,
    stream: np.random.Generator,
) -> Weighed:
    """Several fits of one concept, each against other examples.

    Args:
        products: See `direction`.
        gradients: See `direction`.
        lengths: Of the gradients (N,).
        concept: Places of the concept's examples; None for a random concept, drawn once.
        others: Places of the examples to draw from.
        size: Examples in each set.
        fits: How many.
        stream: Draws.
    """
    if concept is None:
        concept = stream.choice(others, size, replace=False)
        others = np.setdiff1d(others, concept)
    found = [
        direction(
            products,
            gradients,
            ours=stream.choice(concept, size, replace=False),
            theirs=stream.choice(others, size, replace=False),
        )
        for _ in range(fits)
    ]
    slopes = torch.stack([one.slopes for one in found])
    rises = (slopes > 0).double() + (slopes == 0).double() / 2
    return Weighed(
        accuracies=torch.tensor([one.accuracy for one in found], dtype=torch.double),
        rises=rises,
        cosines=slopes / lengths.clamp(min=1e-30),
    )
