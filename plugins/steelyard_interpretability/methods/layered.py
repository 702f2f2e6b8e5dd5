# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
"""Questions about a layer or a neuron: every method that explains by the inputs then explains by, or explains, these.

A question at a layer has the layer's output as its inputs, so that integrated gradients of it are Captum's
LayerIntegratedGradients, ablation its LayerFeatureAblation, and so on; a question of a neuron has the neuron's value as
its score, so that they are NeuronIntegratedGradients and the rest.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from captum.attr import InternalInfluence, LayerConductance, NeuronConductance
from torch import Tensor, nn

from steelyard_interpretability.methods.layers import layer_of, replaced, watched
from steelyard_interpretability.methods.question import Ask, Question
from steelyard_interpretability.methods.scored import Scored

STEPS = 64
"""Places between baseline and input at which conductance and influence are looked at, times the question's effort."""


def at_layer(question: Question, name: str) -> Question:
    """The same decisions, explained by what a layer gives.

    A unit is a channel of a picture's layer (N, C, H, W), a place of a text's (N, L, D), and an element of any other.
    The baseline is what the layer gives for the question's baseline; all that does not go through the layer stays as it
    is for the input.

    Args:
        question: About the inputs.
        name: Of a layer that is called once.

    Raises:
        ValueError: If one cannot speak of its output as of one thing.
    """
    layer = layer_of(question, name)
    inputs, baselines = (_given(question, layer, end) for end in (question.inputs, question.baselines))

    def by(ask: Ask) -> Ask:
        def answer(given: Tensor, rows: Tensor) -> Tensor:
            # A copy, since the next layer may work in place.
            with replaced(layer, lambda output: given.clone()):
                return ask(question.inputs[rows], rows)

        return answer

    units = _units(question, inputs)
    there = question.present.new_ones(len(inputs), int(units.max()) + 1)
    places = _places(question)
    if inputs.dim() == 3 and places is not None and places.shape[1] == inputs.shape[1]:
        there = places
    return replace(
        question,
        inputs=inputs,
        baselines=baselines,
        units=units,
        present=there,
        score=by(question.score),
        probability=by(question.probability),
        layer=name,
        below=question,
        background=_background(question, layer),
    )


def of_neuron(question: Question, name: str, place: tuple[int, ...]) -> Question:
    """What spoke for the value of a neuron, in place of that for the decision.

    Where the place leaves dimensions open, such as those of a channel's map, the value is their mean. The probability
    becomes the value, in the direction in which it lies from that of the baseline.

    Args:
        question: About the inputs.
        name: Of a layer that is called once.
        place: Of the neuron in what the layer gives for one example.

    Raises:
        ValueError: If the layer has no such place.
    """
    layer = layer_of(question, name)
    shape = tuple(_given(question.only(question.rows()[:1]), layer, question.inputs[:1]).shape[1:])
    if len(place) > len(shape) or any(not 0 <= at < size for at, size in zip(place, shape, strict=False)):
        raise ValueError(f"{name} gives {shape} for an example, which has no place {place}")

    def value(inputs: Tensor, rows: Tensor) -> Tensor:
        with watched(layer) as outputs:
            question.score(inputs, rows)
        found: Tensor = outputs[-1][(slice(None), *place)]
        return found.flatten(1).mean(dim=1) if found.dim() > 1 else found

    with torch.no_grad():
        ends = [
            torch.cat([value(end[some].clone(), some) for some in _parts(question.rows(), question.at_once)])
            for end in (question.inputs, question.baselines)
        ]
    signs = torch.where(ends[0] < ends[1], -1.0, 1.0).to(ends[0])

    @torch.no_grad()
    def towards(inputs: Tensor, rows: Tensor) -> Tensor:
        return signs[rows] * value(inputs, rows)

    return replace(question, score=value, probability=towards, layer=name, neuron=place, below=question)


def layer_activation(question: Question) -> Tensor:
    """What the layer gives, above its baseline."""
    return question.inputs - question.baselines


def conductance(question: Question) -> Tensor:
    """Conductance (Dhamdhere et al. 2018): the part of integrated gradients that flows through each element.

    Both ends are the inputs', so that it adds up to the score's difference where all of the score goes through.
    """
    below, layer = _below(question)
    method: Any = LayerConductance(Scored(below), layer)
    return _each(below, method.attribute)


def internal_influence(question: Question) -> Tensor:
    """Internal influence (Leino et al. 2018): the layer's mean gradient between the input's baseline and the input."""
    below, layer = _below(question)
    method: Any = InternalInfluence(Scored(below), layer)
    return _each(below, method.attribute)


def neuron_conductance(question: Question) -> Tensor:
    """What of the decision flows from each element of the input through the neuron (Shrikumar et al. 2018).

    Raises:
        ValueError: If the neuron's place leaves dimensions open.
    """
    below, layer = _below(question)
    place = question.neuron
    assert place is not None
    one = below.only(below.rows()[:1])
    whole = _given(one, layer, one.inputs).dim() - 1
    if len(place) != whole:
        known = f"{place} names {len(place)} of {whole} numbers of its place"
        raise ValueError(f"conductance is of one neuron, and {known}; take integrated_gradients")
    method: Any = NeuronConductance(Scored(below), layer)
    return _each(below, method.attribute, place)


def _below(question: Question) -> tuple[Question, nn.Module]:
    if question.below is None or question.layer is None:
        raise ValueError("no layer is named")
    return question.below, layer_of(question.below, question.layer)


def _each(question: Question, attribute: Callable[..., Tensor], *place: tuple[int, ...]) -> Tensor:
    """In passes of bounded size: Captum asks about all steps of an example at once, where it may."""
    steps = question.scaled(STEPS)
    size = max(1, question.at_once // (steps + 1))
    limit = {} if question.at_once > steps else {"internal_batch_size": max(2, question.at_once)}
    found: list[Tensor] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for rows in _parts(question.rows(), size):
            ends = {"inputs": question.inputs[rows].clone(), "baselines": question.baselines[rows].clone()}
            words = {"n_steps": steps, "additional_forward_args": (rows,), **limit}
            named = {"neuron_selector": place[0]} if place else {}
            found.append(attribute(**ends, **named, **words).detach())
    return torch.cat(found)


@torch.no_grad()
def _given(question: Question, layer: nn.Module, inputs: Tensor) -> Tensor:
    parts: list[Tensor] = []
    for rows in _parts(question.rows(), question.at_once):
        with watched(layer) as outputs:
            question.score(inputs[rows].clone(), rows)
        parts.append(outputs[-1].detach())
    return torch.cat(parts)


@torch.no_grad()
def _background(question: Question, layer: nn.Module) -> Tensor | None:
    background = question.background
    if background is None or background.shape[1:] != question.inputs.shape[1:]:
        return None
    found: list[Tensor] = []
    for some in _parts(torch.arange(len(background), device=background.device), question.at_once):
        with watched(layer) as outputs:
            question.score(background[some].clone(), torch.zeros_like(some))
        found.append(outputs[-1].detach())
    return torch.cat(found)


def _units(question: Question, given: Tensor) -> Tensor:
    shape = given.shape[1:]
    if given.dim() == 4 or (given.dim() == 3 and _places(question) is not None):
        numbers = torch.arange(shape[0], device=given.device)
        return numbers.view(-1, *[1] * (len(shape) - 1)).expand(shape)
    return torch.arange(math.prod(shape), device=given.device).view(shape)


def _places(question: Question) -> Tensor | None:
    """Which places of a sequence are there (N, L), where the inputs are vectors at places."""
    units, shape = question.units, question.inputs.shape[1:]
    if len(shape) != 2 or question.present.shape[1] != shape[0]:
        return None
    line = torch.arange(shape[0], device=units.device)[:, None].expand(shape)
    return question.present if torch.equal(units, line) else None


def _parts(rows: Tensor, size: int) -> list[Tensor]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]
