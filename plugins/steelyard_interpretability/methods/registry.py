"""Methods by name."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

import torch
from torch import Tensor, nn

from steelyard._untyped import named_modules
from steelyard.problem import Problem, refuse
from steelyard.registry import nearest
from steelyard_interpretability.methods.captum_names import here
from steelyard_interpretability.methods.gradient import (
    gradient_shap,
    input_x_gradient,
    integrated_gradients,
    saliency,
    smoothgrad,
)
from steelyard_interpretability.methods.hooked import (
    deconvolution,
    deep_lift,
    deep_lift_shap,
    grad_cam,
    guided_backprop,
    guided_grad_cam,
)
from steelyard_interpretability.methods.layered import (
    conductance,
    internal_influence,
    layer_activation,
    neuron_conductance,
)
from steelyard_interpretability.methods.probe import probed
from steelyard_interpretability.methods.question import Explain, Question
from steelyard_interpretability.methods.relevance import lrp
from steelyard_interpretability.methods.removal import ablation, occlusion
from steelyard_interpretability.methods.shapley import kernel_shap, lime, shapley


class Family(StrEnum):
    """How a method looks at a model, and so what may go wrong."""

    GRADIENT = "gradient"
    LAYERS = "layers"
    REMOVAL = "removal"


class Of(StrEnum):
    """What a method asks for beside the inputs."""

    ANYTHING = "anything"
    LAYER = "layer"
    NEURON = "neuron"


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One way to explain.

    Attributes:
        explain: The pure function.
        family: What it relies on.
        complete: Whether its values must add up to the score's difference from the baseline, where it is right.
        signed: Whether it tells for from against.
        drawn: Whether it draws samples, and so is an estimate.
        of: Whether there must be a layer, or a neuron, that it is a method of.
        bias: What to keep in mind when looking at its pictures.
    """

    explain: Explain
    family: Family
    complete: bool = False
    signed: bool = True
    drawn: bool = False
    of: Of = Of.ANYTHING
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
        "deconvolution": Method(
            explain=deconvolution,
            family=Family.LAYERS,
            bias="draws what is in the picture, and hardly what decides (Nie et al. 2018)",
        ),
        "grad_cam": Method(
            explain=grad_cam, family=Family.LAYERS, bias="as coarse as the layer that it looks at; nothing against"
        ),
        "guided_grad_cam": Method(
            explain=guided_grad_cam,
            family=Family.LAYERS,
            bias="its details are guided_backprop's, and depend little on the weights (Adebayo et al. 2018)",
        ),
        "occlusion": Method(
            explain=occlusion,
            family=Family.REMOVAL,
            bias="shows the model inputs that it has never seen; prefers whole regions",
        ),
        "ablation": Method(
            explain=ablation,
            family=Family.REMOVAL,
            bias="one unit at a time, above 256 pixels one square: what two can do for each other goes unseen",
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
        "deep_lift_shap": Method(
            explain=deep_lift_shap,
            family=Family.LAYERS,
            complete=True,
            bias="adds up to the score above its mean over the background, not above the baseline",
        ),
        "lrp": Method(
            explain=lrp,
            family=Family.GRADIENT,
            bias="of the input itself, without a baseline; what biases add is lost; on a plain ReLU net it is "
            "input x gradient",
        ),
        "layer_activation": Method(
            explain=layer_activation,
            family=Family.LAYERS,
            of=Of.LAYER,
            bias="what the layer gives, whatever the decision makes of it",
        ),
        "conductance": Method(
            explain=conductance,
            family=Family.LAYERS,
            of=Of.LAYER,
            bias="in 64 steps; adds up where all of the score goes through the layer",
        ),
        "internal_influence": Method(
            explain=internal_influence,
            family=Family.LAYERS,
            of=Of.LAYER,
            bias="a mean gradient: says nothing of how much the layer gives",
        ),
        "neuron_conductance": Method(
            explain=neuron_conductance,
            family=Family.LAYERS,
            of=Of.NEURON,
            bias="of the decision, through the neuron; in 64 steps",
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
            words, instead = _no_such(name)
            yield Problem(words, fix=f"{option}=[{instead}]")
        elif names.count(name) > 1:
            yield Problem(f"{name} is chosen twice", fix=f"{option}=[{','.join(dict.fromkeys(names))}]")


def lacking(
    names: Sequence[str], *, layer: str | None, neuron: Sequence[int], task: Callable[[], nn.Module], option: str
) -> Iterator[Problem]:
    """Methods of a layer or neuron without one, and a neuron without its layer.

    Args:
        names: As they were chosen.
        layer: That is named.
        neuron: Its place.
        task: Gives what has the layers.
        option: Of the plugin, e.g. "interpretability.attribution".
    """
    if neuron and layer is None:
        yield Problem("the place of a neuron is named without its layer", fix=f"{option}.layer={_some_layer(task())}")
    for name in dict.fromkeys(names):
        of = METHODS[name].of if name in METHODS else Of.ANYTHING
        if of is Of.LAYER and (layer is None or neuron):
            yield Problem(
                f"{name} explains by a layer's units, and {'a neuron' if neuron else 'no layer'} is named",
                fix=f"{option}.neuron=[]" if neuron else f"{option}.layer={_some_layer(task())}",
            )
        elif of is Of.NEURON and not neuron:
            fix = f"{option}.layer={layer or _some_layer(task())} {option}.neuron=[0]"
            yield Problem(f"{name} is of a neuron, and none is named", fix=fix)


def _some_layer(task: nn.Module) -> str:
    parts = {name: part for name, part in named_modules(task).items() if not [*part.children()]}
    return next((name for name, part in reversed(parts.items()) if [*part.parameters()]), "NAME")


def method(name: str) -> Method:
    """The method of this name.

    Raises:
        Refused: If there is none.
    """
    if name not in METHODS:
        raise refuse(_no_such(name)[0])
    return METHODS[name]


def _no_such(name: str) -> tuple[str, str]:
    """What to say of a name that nobody here has, and what to take."""
    theirs = here(name)
    if theirs is not None:
        return f"there is no method {name!r}: {theirs[0]}", theirs[1]
    near = nearest(name, METHODS)
    return f"there is no method {name!r}: {', '.join(METHODS)}", near or "integrated_gradients"


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
        raise ValueError("not every attribution is finite, nor every score towards the baseline; take saliency")
    return attributions
