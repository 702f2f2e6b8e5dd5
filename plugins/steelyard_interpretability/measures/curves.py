"""Deletion and insertion: the decision while units leave, or enter, one after another."""

from collections.abc import Sequence

import torch
from torch import Tensor

from steelyard_interpretability._deletion import area, ranks_by
from steelyard_interpretability.methods.question import Question, asked, masked

SHARES = (0.01, 0.05, 0.1, 0.2, 0.5)
"""Of the units that comprehensiveness takes away and sufficiency leaves (DeYoung et al. 2020, section 4.2)."""


def deletion(question: Question, ranks: Tensor, *, counts: Sequence[int]) -> Tensor:
    """The probability of the decision while the units leave in this order (Samek et al. 2017): (N, points).

    Args:
        question: Of N examples.
        ranks: The place of each unit in the order (N, K), as `ranks_by` gives it: K for what is not present.
        counts: Units that are gone at each point.
    """
    return masked(question.probability, question, _places(ranks, counts) >= _column(counts, ranks))


def insertion(question: Question, ranks: Tensor, *, counts: Sequence[int]) -> Tensor:
    """The probability of the decision while the units enter the baseline in this order (Petsiuk et al. 2018).

    Shaped (N, points); see `deletion`. What an example does not have stays as it is throughout.
    """
    enters = (_places(ranks, counts) < _column(counts, ranks)) | ~question.present[:, None]
    return masked(question.probability, question, enters)


def erasure(question: Question, units: Tensor) -> tuple[Tensor, Tensor]:
    """Comprehensiveness and sufficiency (DeYoung et al. 2020): two tensors (N,), in probability.

    Comprehensiveness is what the decision loses without its most important units, sufficiency what it loses with
    nothing but them; each is the mean over `SHARES` of the units, rounded up.

    Args:
        question: Of N examples.
        units: The attribution of each unit (N, K).
    """
    sizes = question.present.sum(dim=1, keepdim=True)
    known = units.double().masked_fill(~question.present, -torch.inf)
    order = known.argsort(dim=1, descending=True, stable=True).argsort(dim=1)[:, None]
    shares = torch.tensor(SHARES, dtype=torch.float64, device=units.device)
    tops = order < torch.ceil(shares * sizes - 1e-9)[:, :, None]
    there = question.present[:, None]
    whole = asked(question.probability, question, question.inputs, question.rows())[:, None]
    without = masked(question.probability, question, ~(tops & there))
    alone = masked(question.probability, question, tops | ~there)
    return (whole - without).mean(dim=1), (whole - alone).mean(dim=1)


def areas(question: Question, ranks: Tensor, *, counts: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The areas under both curves, two tensors (N,), between 0 and 1."""
    gone, come = deletion(question, ranks, counts=counts), insertion(question, ranks, counts=counts)
    return area(gone, counts=counts), area(come, counts=counts)


def order_of(units: Tensor, question: Question) -> Tensor:
    """The order of an explanation: largest attribution first (N, K)."""
    return ranks_by(units, present=question.present)


def _places(ranks: Tensor, counts: Sequence[int]) -> Tensor:
    return ranks[:, None, :].expand(-1, len(counts), -1)


def _column(counts: Sequence[int], like: Tensor) -> Tensor:
    return torch.tensor(counts, device=like.device)[None, :, None]
