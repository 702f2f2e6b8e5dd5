"""A question to a frozen model: what spoke for these decisions on these inputs?"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

Ask = Callable[[Tensor, Tensor], Tensor]
"""Inputs (B, ...) and the numbers of the examples that they were made of (B,) -> one number for each (B,)."""

CHUNK = 256
"""Inputs in one pass: larger passes are slower on a CPU, and memory stays bounded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """N examples, the decisions on them, and a model to ask.

    Attributes:
        inputs: The continuous view (N, ...), without gradient.
        baselines: The inputs that say nothing (N, ...).
        units: The unit of attribution of each element, 0 to K-1, shaped as one example.
        present: Which units an example has (N, K), at least one: padding is none.
        numbers: Places of the examples in their split: what is drawn for an example depends on its own place alone.
        seed: Of everything that is drawn.
        score: The differentiable score of the decision.
        probability: That the model gives to the decision; without gradient.
    """

    inputs: Tensor
    baselines: Tensor
    units: Tensor
    present: Tensor
    numbers: tuple[int, ...]
    seed: int
    score: Ask
    probability: Ask

    def at(self, inputs: Tensor) -> "Question":
        """The same question about other inputs (N, ...)."""
        return replace(self, inputs=inputs)


Explain = Callable[[Question], Tensor]
"""A method: attributions shaped as the question's inputs (N, ...)."""


def per_unit(attributions: Tensor, question: Question) -> Tensor:
    """Sum of the attributions in each unit (N, K), 0 at what an example does not have."""
    sums = attributions.new_zeros(question.present.shape)
    return sums.index_add_(1, question.units.flatten(), attributions.flatten(1)) * question.present


@torch.no_grad()
def masked(ask: Ask, question: Question, keep: Tensor) -> Tensor:
    """The answer where only some units are kept and the others stand at the baseline: (N, M).

    Args:
        ask: The question's `score` or `probability`.
        question: Of N examples.
        keep: Which units stay, in M variants of each example (N, M, K).
    """
    count, variants = keep.shape[:2]
    rows = torch.arange(count, device=keep.device).repeat_interleave(variants)
    flat, answers = keep.flatten(0, 1), list[Tensor]()
    for start in range(0, len(rows), CHUNK):
        part = rows[start : start + CHUNK]
        stays = flat[start : start + CHUNK][:, question.units]
        answers.append(ask(torch.where(stays, question.inputs[part], question.baselines[part]), part))
    return torch.cat(answers).view(count, variants)
