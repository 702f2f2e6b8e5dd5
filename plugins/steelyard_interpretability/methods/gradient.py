"""Methods that follow the gradient of the score."""

import numpy as np
import torch
from torch import Tensor

from steelyard_interpretability._gradients import FIRST_STEPS, Explained
from steelyard_interpretability._gradients import integrated_gradients as adaptive
from steelyard_interpretability.methods.question import Question

SAMPLES = 32
"""Draws of the methods that average over noise or baselines."""
NOISE = 0.15
"""Standard deviation of SmoothGrad's noise, as a fraction of the example's own range (Smilkov et al. 2017)."""
_SMOOTH, _SHAP = 2017, 1705
"""Set these random streams apart from every other one that is made of the same seed."""


def gradients(question: Question, inputs: Tensor, rows: Tensor) -> Tensor:
    """The gradient of each input's score with respect to it (B, ...), in passes of bounded size."""
    found: list[Tensor] = []
    for start in range(0, len(rows), question.at_once):
        leaf = inputs[start : start + question.at_once].detach().requires_grad_()
        # A copy, since a model may work in place on what it is given.
        total = question.score(leaf.clone(), rows[start : start + question.at_once]).sum()
        found.append(torch.autograd.grad(total, leaf)[0])
    return torch.cat(found) if found else inputs


def saliency(question: Question) -> Tensor:
    """|gradient| (Simonyan et al. 2013): how sensitive the score is to each element, without a sign."""
    return gradients(question, question.inputs, question.rows()).abs()


def input_x_gradient(question: Question) -> Tensor:
    """(input - baseline) x gradient (Shrikumar et al. 2016): exact where the score is linear."""
    return (question.inputs - question.baselines) * gradients(question, question.inputs, question.rows())


def integrated_gradients(question: Question) -> Tensor:
    """Integrated Gradients (Sundararajan et al. 2017), steps doubled until completeness holds to the tolerance."""
    return stepped(question).attributions


def stepped(question: Question) -> Explained:
    """Integrated gradients with what they are worth: the steps and the completeness error of each example."""
    return adaptive(
        question.score,
        inputs=question.inputs,
        baselines=question.baselines,
        rows=question.rows(),
        tolerance=question.tolerance,
        max_steps=max(FIRST_STEPS, round(question.max_steps * question.effort)),
        at_once=question.at_once,
    )


def smoothgrad(question: Question) -> Tensor:
    """The mean of (input - baseline) x gradient at noisy copies of the input (Smilkov et al. 2017)."""
    draws = question.scaled(SAMPLES)
    inputs, rows = question.inputs, question.rows()
    flat = inputs.flatten(1)
    width = NOISE * (flat.amax(dim=1) - flat.amin(dim=1)).view(-1, *[1] * (inputs.dim() - 1))
    streams = question.streams(_SMOOTH)
    total = torch.zeros_like(inputs)
    for _ in range(draws):
        noise = np.stack([stream.standard_normal(inputs.shape[1:]) for stream in streams])
        total += gradients(question, inputs + width * torch.as_tensor(noise).to(inputs), rows)
    return (inputs - question.baselines) * total / draws


def gradient_shap(question: Question) -> Tensor:
    """The expected gradient at random places between baseline and input (Lundberg and Lee 2017; Erion et al. 2021).

    The baseline is the question's own, without noise, so that an example's values do not depend on those beside it.
    """
    draws = question.scaled(SAMPLES)
    inputs, rows = question.inputs, question.rows()
    spare = [1] * (inputs.dim() - 1)
    total = torch.zeros_like(inputs)
    streams = question.streams(_SHAP)
    # A stratified place on each path: the same mean, less chance.
    places = np.stack([(stream.permutation(draws) + stream.random(draws)) / draws for stream in streams], axis=1)
    for place in torch.as_tensor(places).to(inputs):
        alpha = place.view(-1, *spare)
        point = question.baselines + alpha * (inputs - question.baselines)
        total += (inputs - question.baselines) * gradients(question, point, rows)
    return total / draws
