# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Scores of texts by their least likely tokens."""

import numpy as np
import torch
from torch import Tensor

from steelyard.adapters import IGNORED
from steelyard.runs import Run
from steelyard_privacy._attack import Scores


@torch.no_grad()
def least_likely(run: Run, split: str, *, share: float) -> Scores:
    """The Min-K% score of every text of a split (N,): the higher, the more it looks like a training text."""
    found: list[Tensor] = []
    for raw in run.loader(split):
        batch = run.to_device(raw)
        logits, tokens = run.adapter.outputs(run.task, batch), run.adapter.targets(batch)
        said = logits.float().log_softmax(dim=2).gather(2, tokens.clamp(min=0)[:, :, None])[:, :, 0]
        found.append(lowest_mean(said, tokens != IGNORED, share=share).cpu())
    # A text whose probabilities are no numbers speaks against membership like an impossible one.
    return np.nan_to_num(torch.cat(found).double().numpy(), nan=-np.inf, neginf=-np.inf)


def lowest_mean(values: Tensor, counted: Tensor, *, share: float) -> Tensor:
    """The mean of the lowest `share` of the values that count in each row, of one at least; 0 where none counts.

    Shi et al. 2024, equation 1, of log-probabilities.

    Args:
        values: (B, T).
        counted: (B, T), booleans.
        share: Above 0, at most 1.
    """
    ascending = values.masked_fill(~counted, torch.inf).sort(dim=1).values
    taken = (counted.sum(dim=1) * share).floor().clamp(min=1)
    chosen = torch.arange(values.shape[1], device=values.device) < taken[:, None]
    chosen &= counted.sum(dim=1)[:, None] > 0
    return ascending.masked_fill(~chosen, 0.0).sum(dim=1) / taken
