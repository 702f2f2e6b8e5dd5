"""Methods by name."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

import torch
from torch import Tensor

from steelyard.problem import Problem, refuse
from steelyard_interpretability.methods.gradient import (
    gradient_shap,
    input_x_gradient,
    integrated_gradients,
    saliency,
    smoothgrad,
)
from steelyard_interpretability.methods.hooked import deep_lift, grad_cam, guided_backprop
from steelyard_interpretability.methods.probe import probed
from steelyard_interpretability.methods.question import Explain, Question
from steelyard_interpretability.methods.removal import ablation, occlusion
from steelyard_interpretability.methods.shapley import kernel_shap, lime, shapley


class Family(StrEnum):
    """How a method looks at a model, and so what may go wrong."""

    GRADIENT = "gradient"
    LAYERS = "layers"
    REMOVAL = "removal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One way to explain.

    Attributes:
        explain: The pure function.
        family: What it relies on.
        complete: Whether its values must add up to the score's difference from the baseline, where it is right.
        signed: Whether it tells for from against.
        drawn: Whether it draws samples, and so is an estimate.
        bias: What to keep in mind when looking at its pictures.
    """

    explain: Explain
    family: Family
    complete: bool = False
    signed: bool = True
    drawn: bool = False
    bias: str


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "integrated_gradients": Method(
            explain=integrated_gradients,
            family=Family.GRADIENT,
            complete=True,
            bias="depends on the baseline: what equals it gets nothing",
        ),
        "saliency": Method(
            explain=saliency,
            family=Family.GRADIENT,
            signed=False,
            bias="local sensitivity, without a sign; noisy, and blind where the score is flat",
        ),
        "input_x_gradient": Method(
            explain=input_x_gradient,
            family=Family.GRADIENT,
            bias="exact for linear scores only; blind where it is flat",
        ),
        "smoothgrad": Method(
            explain=smoothgrad,
            family=Family.GRADIENT,
            drawn=True,
            bias="an average over noisy inputs: smooth by construction",
        ),
        "gradient_shap": Method(
            explain=gradient_shap,
            family=Family.GRADIENT,
            drawn=True,
            bias="an estimate: adds up to the score on average only",
        ),
        "deep_lift": Method(
            explain=deep_lift,
            family=Family.LAYERS,
            complete=True,
            bias="depends on the baseline and on how the model is written",
        ),
        "guided_backprop": Method(
            explain=guided_backprop,
            family=Family.LAYERS,
            bias="sharp pictures that depend little on the weights (Adebayo et al. 2018)",
        ),
        "grad_cam": Method(
            explain=grad_cam, family=Family.LAYERS, bias="as coarse as the layer that it looks at; nothing against"
        ),
        "occlusion": Method(
            explain=occlusion,
            family=Family.REMOVAL,
            bias="shows the model inputs that it has never seen; prefers whole regions",
        ),
        "ablation": Method(
            explain=ablation,
            family=Family.REMOVAL,
            bias="one unit at a time: what two units can do for each other goes unseen",
        ),
        "shapley": Method(
            explain=shapley,
            family=Family.REMOVAL,
            complete=True,
            bias="shows the model mixtures of input and baseline; an estimate above 12 units",
        ),
        "kernel_shap": Method(
            explain=kernel_shap,
            family=Family.REMOVAL,
            complete=True,
            drawn=True,
            bias="an estimate; shows the model mixtures of input and baseline",
        ),
        "lime": Method(
            explain=lime,
            family=Family.REMOVAL,
            drawn=True,
            bias="a linear fit, which depends on what counts as near; does not add up to the score",
        ),
    }
)


def unknown(names: Sequence[str], *, option: str) -> Iterator[Problem]:
    """What is wrong with a choice of methods: none at all, one twice, or one that nobody knows.

    Args:
        names: As they were chosen.
        option: As an override names it, e.g. "interpretability.attribution.methods".
    """
    if not names:
        yield Problem("no method of explanation is chosen", fix=f"{option}=[integrated_gradients]")
    for name in dict.fromkeys(names):
        if name not in METHODS:
            yield Problem(
                f"there is no method {name!r}: {', '.join(METHODS)}",
                fix=f"{option}=[integrated_gradients]",
            )
        elif names.count(name) > 1:
            yield Problem(f"{name} is chosen twice", fix=f"{option}=[{','.join(dict.fromkeys(names))}]")


def method(name: str) -> Method:
    """The method of this name.

    Raises:
        Refused: If there is none.
    """
    if name not in METHODS:
        raise refuse(f"there is no method {name!r}: {', '.join(METHODS)}")
    return METHODS[name]


def explain(name: str, question: Question) -> Tensor:
    """The attributions of a method, shaped as the question's inputs.

    Raises:
        ValueError: If the method would be wrong on this model, with the method to take instead.
    """
    chosen = method(name)
    objection = probed(question).objection(name)
    if objection:
        raise ValueError(f"{name} would be wrong on this model: {objection}")
    return finite(chosen.explain(question).detach())


def finite(attributions: Tensor) -> Tensor:
    """The same attributions.

    Raises:
        ValueError: If one is not finite.
    """
    if not bool(torch.isfinite(attributions).all()):
        raise ValueError("its attributions are not finite: so are scores between the baseline and the input")
    return attributions
