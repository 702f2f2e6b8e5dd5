"""What spoke for each token of an answer: output x input."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from steelyard.adapters import IGNORED, TokenScoring
from steelyard.runs import Run
from steelyard_interpretability._asking import Asked, asked_of
from steelyard_interpretability._samples import Samples, some
from steelyard_interpretability.methods.question import Question

PLACES = 24
"""Tokens of an answer that are explained, each by itself."""
FEWEST = 3
ANSWERS = 2
"""Answers that are taken apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One example, and what each part of it is worth to each token of the answer.

    Attributes:
        row: Its place among the examples that are drawn.
        method: By which it is explained.
        places: Of the explained tokens in the answer (T,).
        worth: (T, K), in units of the logit; signed.
        present: Which units the example has (K,).
        complete: Whether the row of each token adds up (T,); None where the method does not promise it.
    """

    row: int
    method: str
    places: Tensor
    worth: Tensor
    present: Tensor
    complete: Tensor | None


def is_told_by_tokens(run: Run) -> bool:
    """Whether decisions are tokens one after the other, so that each has an explanation of its own."""
    return isinstance(run.adapter.scoring, TokenScoring)


def counted(decisions: Tensor, *, effort: float) -> Tensor:
    """The places of the tokens of one answer (T,) that are explained: the first ones, fewer where time is short."""
    most = max(FEWEST, round(PLACES * effort))
    return (decisions != IGNORED).nonzero()[:most, 0]


def token_by_token(run: Run, samples: Samples, places: Sequence[int], **settings: Any) -> Question:
    """The question about one example as often as tokens are explained: each time what spoke for one of them.

    The tokens before it are given, as in training. A method is asked as it is about whole answers.

    Args:
        run: Whose answers are tokens.
        samples: A single example.
        places: Of the tokens in its answer.
        settings: Of the question.
    """
    asked: Asked = asked_of(run, some(run, samples, [0] * len(places)), **settings)
    rows = torch.arange(len(places), device=asked.decisions.device)
    at = torch.as_tensor(places, device=rows.device)
    alone = torch.full_like(asked.decisions, IGNORED)
    alone[rows, at] = asked.decisions[rows, at]
    return asked.pose(run.task, alone)
