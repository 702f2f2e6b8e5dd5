"""Methods of Captum that hook into the layers; `probe.py` says on which models they are right."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from captum.attr import Deconvolution, DeepLift, GuidedBackprop, LayerAttribution, LayerGradCam
from torch import Tensor, nn

from steelyard._untyped import named_modules
from steelyard_interpretability._gradients import completeness_errors
from steelyard_interpretability.methods.grouping import grid
from steelyard_interpretability.methods.question import Question, asked
from steelyard_interpretability.methods.scored import Scored, in_double

MISSED = 0.05
"""Completeness error above which DeepLIFT is refused; where its rules hold it is rounding."""
OF_MASS = 1e-3
"""The same as a part of the attributions' mass, which is smaller where they cancel."""
ROUNDED = 16
"""Last places of a score: what is missed by less is no error of a rule."""


def deep_lift(question: Question) -> Tensor:
    """DeepLIFT with the rescale rule (Shrikumar et al. 2017), against the question's baselines.

    Raises:
        ValueError: If it does not add up, as with functions, layers without a rule, or a layer that is used twice:
            Captum says nothing of most of these.
    """
    found, missed = _lifted(question)
    exact = in_double(question) if missed else None
    if exact is not None:
        found, missed = _lifted(exact)
    if missed:
        raise ValueError(
            f"DeepLIFT has no rule for something in this model: its contributions miss what they should add up to by "
            f"{missed:.0%}; take integrated_gradients"
        )
    return found.to(question.inputs.dtype)


def _lifted(question: Question) -> tuple[Tensor, float]:
    """The contributions, and by how much the worst miss what they should add up to; 0 for no more than allowed."""
    method: Any = DeepLift(Scored(question))
    found = _in_passes(
        question,
        lambda inputs, baselines, rows: method.attribute(inputs, baselines=baselines, additional_forward_args=(rows,)),
    )
    ends = (question.inputs, question.baselines)
    whole, empty = (asked(question.score, question, end, question.rows()) for end in ends)
    errors = completeness_errors(found, difference=whole - empty)
    mass, missed = found.flatten(1).abs().sum(dim=1), (found.flatten(1).sum(dim=1) - (whole - empty)).abs()
    off = missed / torch.maximum(mass, (whole - empty).abs())
    # Where an example all but is its baseline, as one of the background, the difference is nothing but rounding.
    rounded = missed <= ROUNDED * torch.finfo(whole.dtype).eps * torch.maximum(whole.abs(), empty.abs())
    worst = float(errors.masked_fill(rounded, 0.0).max())
    fine = worst <= MISSED and float(off.masked_fill(rounded, 0.0).nan_to_num(nan=0.0).max()) <= OF_MASS
    return found, 0.0 if fine else worst


def deep_lift_shap(question: Question) -> Tensor:
    """The mean of DeepLIFT over the question's background (Lundberg and Lee 2017), in passes of bounded size.

    Raises:
        ValueError: If DeepLIFT does not add up.
    """
    background = question.background
    assert background is not None
    total = torch.zeros_like(question.inputs)
    for base in background:
        total += deep_lift(replace(question, baselines=base.expand_as(question.inputs)))
    return total / len(background)


def guided_backprop(question: Question) -> Tensor:
    """Guided backpropagation (Springenberg et al. 2014): only what adds passes back through a ReLU that is open."""
    return _backwards(GuidedBackprop, question)


def deconvolution(question: Question) -> Tensor:
    """Deconvolution (Zeiler and Fergus 2014): only what adds passes back through a ReLU, open or not."""
    return _backwards(Deconvolution, question)


def grad_cam(question: Question) -> Tensor:
    """Grad-CAM (Selvaraju et al. 2017) of the last spatial layer, brought to the size of the image.

    The map is shared evenly by a pixel's channels; negative evidence is left out, as in the paper.
    """
    return _cam(question) / question.inputs.shape[1]


def guided_grad_cam(question: Question) -> Tensor:
    """Guided Grad-CAM (Selvaraju et al. 2017): guided backpropagation times the map of Grad-CAM, element by element."""
    return guided_backprop(question) * _cam(question)


def _backwards(kind: Any, question: Question) -> Tensor:
    method: Any = kind(Scored(question))
    return _in_passes(
        question, lambda inputs, baselines, rows: method.attribute(inputs, additional_forward_args=(rows,))
    )


def _cam(question: Question) -> Tensor:
    scored = Scored(question)
    layer = named_modules(scored.task)[cam_layer(question)]
    method: Any = LayerGradCam(scored, layer)
    sides = grid(question.units)

    def attribute(inputs: Tensor, baselines: Tensor, rows: Tensor) -> Tensor:
        del baselines
        found = method.attribute(inputs, additional_forward_args=(rows,), relu_attributions=True)
        interpolate: Any = LayerAttribution.interpolate
        return interpolate(found, sides, interpolate_mode="bilinear").expand_as(inputs)

    return _in_passes(question, attribute)


def cam_layer(question: Question) -> str:
    """The layer that is named, or the last spatial one."""
    named = question.layer if question.below is None else None
    return named or spatial_layer(question)


def spatial_layer(question: Question) -> str:
    """The name of the last layer called that gives maps of more than one place from convolution.

    Raises:
        ValueError: If there is none.
    """
    assert question.task is not None
    seen: list[str] = []

    def note(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, given: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.dim() == 4 and output.shape[2] * output.shape[3] > 1:
                seen.append(name)

        return hook

    convolutions = (nn.Conv2d, nn.ConvTranspose2d)
    layers = {name: layer for name, layer in named_modules(question.task).items() if isinstance(layer, convolutions)}
    handles = [layer.register_forward_hook(note(name)) for name, layer in layers.items()]
    try:
        with torch.no_grad():
            question.score(question.inputs[:1].clone(), question.rows()[:1])
    finally:
        for handle in handles:
            handle.remove()
    if not seen:
        raise ValueError("the model has no convolution that gives a map of more than one place")
    return seen[-1]


def _in_passes(question: Question, attribute: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
    found: list[Tensor] = []
    # Captum asks about inputs and baselines together.
    size = max(1, question.at_once // 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for start in range(0, len(question.inputs), size):
            rows = question.rows()[start : start + size]
            # Captum asks for gradients of its inputs itself, and leaves them asked for where it fails.
            inputs = question.inputs[rows].clone()
            found.append(attribute(inputs, question.baselines[rows].clone(), rows).detach())
    return torch.cat(found)
