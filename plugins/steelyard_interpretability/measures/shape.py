"""What can be said of a map alone, beside another map, or beside the truth."""

import torch
from torch import Tensor


def gini(units: Tensor, *, present: Tensor) -> Tensor:
    """Gini's index of the absolute attributions of the units an example has (Chalasani et al. 2020): (N,), 0 to 1.

    0: all units count alike; 1 - 1/K: one unit counts alone. NaN where all are zero.

    Args:
        units: (N, K).
        present: Which of them an example has (N, K).
    """
    sizes = present.sum(dim=1).double()
    # What is not there sorts before everything and weighs nothing.
    values = torch.where(present, units.double().abs(), -1.0).sort(dim=1).values
    place = torch.arange(1, units.shape[1] + 1, device=units.device)[None] - (units.shape[1] - sizes)[:, None]
    weights = (2 * place - sizes[:, None] - 1) * (values >= 0)
    total = values.clamp(min=0).sum(dim=1)
    return (weights * values).sum(dim=1) / (sizes * total)


def top_overlap(ours: Tensor, theirs: Tensor, *, present: Tensor, share: float = 0.1) -> Tensor:
    """Jaccard's index of the most important units of two explanations: (N,), 0 to 1.

    Args:
        ours: (N, K).
        theirs: (N, K).
        present: Which units an example has (N, K).
        share: Of the units, rounded up.
    """
    sizes = torch.ceil(share * present.sum(dim=1, keepdim=True).double() - 1e-9)

    def top(values: Tensor) -> Tensor:
        known = values.double().masked_fill(~present, -torch.inf)
        return known.argsort(dim=1, descending=True, stable=True).argsort(dim=1) < sizes

    one, other = top(ours), top(theirs)
    return (one & other).sum(dim=1).double() / (one | other).sum(dim=1)


def pointing(units: Tensor, truth: Tensor, *, present: Tensor) -> Tensor:
    """Whether the most important unit lies where the truth does (Zhang et al. 2018): booleans (N,).

    Args:
        units: (N, K).
        truth: Units that hold it (N, K).
        present: Which units an example has (N, K).
    """
    first = units.double().masked_fill(~present, -torch.inf).argmax(dim=1, keepdim=True)
    return truth.gather(1, first)[:, 0]


def mass(units: Tensor, truth: Tensor) -> Tensor:
    """The share of the positive attribution that lies where the truth does (Kohlbrenner et al. 2020): (N,), 0 to 1.

    NaN where nothing speaks for the decision.

    Args:
        units: (N, K).
        truth: Units that hold it (N, K).
    """
    positive = units.double().clamp(min=0)
    return (positive * truth).sum(dim=1) / positive.sum(dim=1)
