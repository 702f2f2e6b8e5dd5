"""Max-sensitivity: how far an explanation jumps when its input hardly moves."""

import numpy as np
import torch
from torch import Tensor

from steelyard_interpretability.methods.question import Explain, Question

STREAM = 1902
"""Sets the draws apart."""


def max_sensitivity(
    explain: Explain, question: Question, *, radius: float, draws: int, ours: Tensor | None = None
) -> Tensor:
    """The largest relative change of the attributions among random neighbours (Yeh et al. 2019, definition 3): (N,).

    |a(x + d) - a(x)| / |a(x)| in the Euclidean norm over elements, with every element of d uniform within `radius`.
    It is a lower bound of the true maximum. NaN where an explanation is zero everywhere.

    Args:
        explain: The method.
        question: Of N examples.
        radius: In the unit of the inputs.
        draws: Neighbours of each example.
        ours: The attributions of the examples themselves (N, ...) where they are known.
    """
    ours = (explain(question) if ours is None else ours).detach().flatten(1).double()
    size = ours.square().sum(dim=1).sqrt()
    shape = tuple(question.inputs.shape[1:])
    streams = [np.random.default_rng([question.seed, STREAM, number]) for number in question.numbers]
    worst = torch.zeros_like(size)
    for _ in range(draws):
        moved = np.array([stream.uniform(-radius, radius, shape) for stream in streams])
        near = question.inputs + torch.as_tensor(moved).to(question.inputs)
        theirs = explain(question.at(near)).detach().flatten(1).double()
        worst = torch.maximum(worst, (theirs - ours).square().sum(dim=1).sqrt() / size)
    return worst
