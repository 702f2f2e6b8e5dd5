"""The score of a question as a module, as it is and in double precision."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from steelyard_interpretability.methods.question import Question, asked


class Scored(nn.Module):
    """The score as a module that holds the task's layers, as Captum wants to have it."""

    def __init__(self, question: Question) -> None:
        super().__init__()
        assert question.task is not None
        self.task = question.task
        self._score = question.score

    def forward(self, inputs: Tensor, rows: Tensor) -> Tensor:
        """The scores of inputs that were made of these examples."""
        return self._score(inputs.clone(), rows)


def in_double(question: Question) -> Question | None:
    """The same question to the same model with all its weights in double precision, for the time of each call.

    Large activations round away what a decision changes by; here they do not.

    Returns:
        None where it was in double precision before, or where the model cannot be asked that way, as one that
        makes single precision of its inputs.
    """
    if question.task is None or question.inputs.dtype == torch.float64:
        return None
    held = Scored(question)
    exact = {
        name: tensor.detach().double()
        for name, tensor in (*held.named_parameters(), *held.named_buffers())
        if tensor.is_floating_point()
    }

    def score(inputs: Tensor, rows: Tensor) -> Tensor:
        return torch.func.functional_call(held, exact, (inputs, rows))

    twin = replace(
        question,
        inputs=question.inputs.double(),
        baselines=question.baselines.double(),
        background=None if question.background is None else question.background.double(),
        score=score,
    )
    return twin if _answers(lambda: asked(twin.score, twin, twin.inputs[:1], twin.rows()[:1])) else None


def _answers(ask: Callable[[], Tensor]) -> bool:
    try:
        return ask().dtype == torch.float64
    except (AssertionError, RuntimeError, TypeError, ValueError):
        # A stranger's model may take no other precision than its own.
        return False
