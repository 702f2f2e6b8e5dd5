"""Reading the output of CTC (Graves et al. 2006): a token or a blank at every frame."""

from collections.abc import Sequence
from itertools import groupby
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import ctc_loss

from steelyard.adapters.scoring import IGNORED, Scoring

BLANK = 0
"""The token that stands for no letter; in a target it marks the end."""


@final
class CTCScoring(Scoring):
    """Logits over tokens at every frame, shape (B, F, V), against texts (B, L), where 0 and IGNORED are no letters.

    A decision is the best path: the most likely token at every frame. What it says are its tokens without repeats and
    blanks.
    """

    def decisions(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The best path (B, F)."""
        del targets
        return outputs.argmax(dim=2)

    def marks(self, decisions: Tensor, targets: Tensor) -> Tensor:
        """1 minus the letters to be changed over the letters of the text, at least 0."""
        pairs = [(self.said(one), self.wanted(other)) for one, other in zip(decisions, targets, strict=True)]
        marks = [max(0.0, 1 - edit_distance(said, wanted) / max(1, len(wanted))) for said, wanted in pairs]
        return torch.tensor(marks, dtype=torch.float64, device=decisions.device)

    def scores(self, outputs: Tensor, decisions: Tensor) -> Tensor:
        """The mean logit of the path where it says a letter: blanks would speak for the silence."""
        return _mean_where_said(_along(outputs, decisions), decisions)

    def probabilities(self, outputs: Tensor, decisions: Tensor) -> Tensor:
        """The geometric mean of the probabilities of the path where it says a letter."""
        return _mean_where_said(_along(outputs.log_softmax(dim=2), decisions), decisions).exp()

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Minus the logarithm of the probability of the text, over all paths that say it."""
        return ctc_losses(outputs, targets)

    def same(self, one: Tensor, other: Tensor) -> Tensor:
        """The same text."""
        equal = [self.said(left) == self.said(right) for left, right in zip(one, other, strict=True)]
        return torch.tensor(equal, dtype=torch.bool, device=one.device)

    def said(self, decision: Tensor) -> Sequence[int]:
        """The path without repeats and blanks."""
        return collapsed([int(token) for token in decision])

    def wanted(self, target: Tensor) -> Sequence[int]:
        """The letters."""
        return [int(token) for token in target if token not in (BLANK, IGNORED)]


def collapsed(path: Sequence[int]) -> list[int]:
    """What a path says: each run of one token once, and no blanks."""
    return [token for token, _ in groupby(path) if token not in (BLANK, IGNORED)]


def ctc_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """The CTC loss of each example: shape (B,), in nats.

    Args:
        logits: (B, F, V), where token 0 is the blank.
        targets: (B, L), letters first; 0 and IGNORED are none. F is at least the number of letters and of repeats.
    """
    lengths = (targets > BLANK).sum(dim=1)
    frames = torch.full_like(lengths, logits.shape[1])
    steps = logits.float().log_softmax(dim=2).transpose(0, 1)
    return ctc_loss(steps, targets.clamp(min=BLANK), frames, lengths, blank=BLANK, reduction="none")


def edit_distance(one: Sequence[object], other: Sequence[object]) -> int:
    """The fewest insertions, deletions and replacements that lead from one to the other (Levenshtein 1966)."""
    row = [*range(len(other) + 1)]
    for at, item in enumerate(one, start=1):
        before, row[0] = row[0], at
        for place, rival in enumerate(other, start=1):
            before, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, before + (item != rival))
    return row[-1]


def _along(values: Tensor, path: Tensor) -> Tensor:
    return values.gather(2, path.clamp(min=BLANK)[:, :, None])[:, :, 0]


def _mean_where_said(values: Tensor, path: Tensor) -> Tensor:
    """Over all frames where nothing is said."""
    said = path > BLANK
    said = said | ~said.any(dim=1, keepdim=True)
    return (values * said).sum(dim=1) / said.sum(dim=1)
