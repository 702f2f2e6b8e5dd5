"""Infidelity: do the contributions foretell what the score loses?"""

import numpy as np
import torch
from torch import Tensor

from steelyard_interpretability.methods.question import Question, masked

STREAM = 1901
"""Sets the draws apart; arXiv 1901.09392 is the paper."""


def subsets(question: Question, *, draws: int) -> Tensor:
    """Which units are taken away in each draw (N, draws, K): each one with a chance of its own draw, 0 to 1."""
    units = question.present.shape[1]
    rows: list[np.ndarray] = []
    for number in question.numbers:
        stream = np.random.default_rng([question.seed, STREAM, number])
        rows.append(stream.random((draws, units)) < stream.random((draws, 1)))
    return torch.as_tensor(np.array(rows)).to(question.present.device) & question.present[:, None]


def infidelity(question: Question, units: Tensor, *, gone: Tensor) -> Tensor:
    """Infidelity with its optimal scaling (Yeh et al. 2019, equation 2 and section 4.1), from 0 to 1: shape (N,).

    The mean square of (b * sum of the contributions taken away - what the score loses), over the mean square of what
    it loses, with the b that makes it smallest; so methods on different scales compare. 0: the contributions
    foretell every loss; 1: no better than saying nothing. NaN where no draw changes the score.

    Args:
        question: Of N examples.
        units: The contribution of each unit (N, K).
        gone: Units taken away in each draw (N, draws, K).
    """
    rows = torch.arange(len(units), device=units.device)
    with torch.no_grad():
        whole = question.score(question.inputs.clone(), rows).double()
    lost = whole[:, None] - masked(question.score, question, ~gone).double()
    told = (gone.double() @ units.double()[:, :, None])[:, :, 0]
    size = (told**2).sum(dim=1)
    scale = torch.where(size > 0, (told * lost).sum(dim=1) / size, 0.0)
    return ((scale[:, None] * told - lost) ** 2).mean(dim=1) / (lost**2).mean(dim=1)
