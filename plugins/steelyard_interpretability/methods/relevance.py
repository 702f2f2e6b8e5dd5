# pyright: reportUnknownMemberType=false
"""Layer-wise relevance propagation, also through attention."""

import torch
from torch import Tensor

from steelyard_interpretability.methods._propagation import ruled
from steelyard_interpretability.methods.question import Question


def lrp(question: Question) -> Tensor:
    """LRP (Bach et al. 2015) with the rule of least bias, and AttnLRP's rules for attention (Achtibat et al. 2024).

    Sums hand relevance on by the shares of their parts, biases keep theirs; activations hand it on as it is; of a
    product of two things that depend on the input each gets half; layer normalisation is linear with its deviation
    held. Relevance is that of the input itself, without a baseline. It adds up to the score where there is no bias.
    """
    found: list[Tensor] = []
    for start in range(0, len(question.inputs), question.at_once):
        rows = question.rows()[start : start + question.at_once]
        leaf = question.inputs[rows].detach().requires_grad_()
        inputs = leaf.clone()
        # A copy, since a model may work in place on what it is given.
        score = question.score(inputs.clone(), rows)
        ruled(score.grad_fn, inputs.grad_fn)
        (slope,) = torch.autograd.grad(score.sum(), leaf)
        found.append(leaf.detach() * slope)
    return torch.cat(found)
