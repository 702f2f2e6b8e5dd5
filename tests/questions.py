"""Questions whose right answers are known in closed form."""

from collections.abc import Callable

import torch
from torch import Tensor

from steelyard_interpretability.methods.question import Question


def question(
    score: Callable[[Tensor], Tensor],
    inputs: Tensor,
    *,
    units: Tensor | None = None,
    baselines: Tensor | None = None,
    present: Tensor | None = None,
    probability: Callable[[Tensor], Tensor] | None = None,
) -> Question:
    """A question to a function of inputs alone, one unit an element unless told otherwise."""
    shape = inputs.shape[1:]
    units = torch.arange(shape.numel()).view(shape) if units is None else units
    chance = score if probability is None else probability
    return Question(
        inputs=inputs,
        baselines=torch.zeros_like(inputs) if baselines is None else baselines,
        units=units,
        present=torch.ones(len(inputs), int(units.max()) + 1, dtype=torch.bool) if present is None else present,
        numbers=tuple(range(len(inputs))),
        seed=0,
        score=lambda x, rows: score(x),
        probability=lambda x, rows: chance(x),
    )


def linear(weights: Tensor) -> Callable[[Tensor], Tensor]:
    """The weighted sum of all elements."""
    return lambda x: (x * weights).flatten(1).sum(dim=1)
