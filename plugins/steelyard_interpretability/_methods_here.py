"""Methods by name."""

from collections.abc import Mapping

import torch
from torch import Tensor

from steelyard_interpretability._gradients import integrated_gradients
from steelyard_interpretability.measures.question import Explain, Question, masked


def _integrated(question: Question) -> Tensor:
    rows = torch.arange(len(question.inputs), device=question.inputs.device)
    return integrated_gradients(
        question.score,
        inputs=question.inputs,
        baselines=question.baselines,
        rows=rows,
        tolerance=0.05,
        max_steps=128,
    ).attributions


def _gradient(question: Question) -> Tensor:
    inputs = question.inputs.clone().requires_grad_()
    rows = torch.arange(len(inputs), device=inputs.device)
    (found,) = torch.autograd.grad(question.score(inputs, rows).sum(), inputs)
    return found * (question.inputs - question.baselines)


def _ablation(question: Question) -> Tensor:
    units = question.present.shape[1]
    keep = ~torch.eye(units, dtype=torch.bool, device=question.inputs.device)
    rows = torch.arange(len(question.inputs), device=question.inputs.device)
    with torch.no_grad():
        whole = question.score(question.inputs, rows)[:, None]
    lost = whole - masked(question.score, question, keep.expand(len(rows), -1, -1))
    sizes = torch.bincount(question.units.flatten(), minlength=units)
    return (lost / sizes)[:, question.units]


METHODS: Mapping[str, Explain] = {
    "integrated_gradients": _integrated,
    "input_x_gradient": _gradient,
    "occlusion": _ablation,
}
