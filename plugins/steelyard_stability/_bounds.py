# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""What a chain of layers can give at most and at least on a box of inputs: interval and linear bounds.

Intervals go forward (Gowal et al. 2018). Linear bounds go back: a sum of outputs is bounded below by a linear function
of the layer before, ReLU by ReLU, down to the inputs (Zhang et al. 2018, CROWN). Both hold for every point of the box.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from steelyard.models.normalise import Normalise

WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d)
PLAIN = (
    nn.Flatten,
    nn.Identity,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.Dropout,
    nn.Dropout2d,
    Normalise,
)
"""Affine layers in eval mode whose matrix is diagonal or holds no number below 0."""
MANY = 4096
"""Undecided places up to which a layer gets linear bounds of its own; one with more keeps its intervals."""
ROWS = 2048
"""Sums that go back through the layers at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """All inputs between two: (B, ...) each, doubles."""

    low: Tensor
    high: Tensor


def doubled(layers: Sequence[nn.Module]) -> list[nn.Module]:
    """Copies in eval mode that compute in doubles.

    Raises:
        ValueError: If there is one for which no bound is known here.
    """
    for layer in layers:
        padded = isinstance(layer, nn.Conv1d | nn.Conv2d) and layer.padding_mode != "zeros"
        if padded or not isinstance(layer, (*WEIGHTED, *PLAIN, nn.ReLU)):
            raise ValueError(f"no bound is known here of {type(layer).__name__}")
    # In place, a ReLU would change what its neighbours still need.
    made = [nn.ReLU() if isinstance(layer, nn.ReLU) else deepcopy(layer) for layer in layers]
    return [layer.double().eval().requires_grad_(False) for layer in made]


def intervals(layers: Sequence[nn.Module], box: Box) -> list[Box]:
    """What each layer is given, and at the end what the last one gives."""
    found = [box]
    for layer in layers:
        found.append(_through(layer, found[-1]))
    return found


def tightened(layers: Sequence[nn.Module], box: Box) -> list[Box]:
    """The same, where each ReLU is given what linear bounds leave of the intervals."""
    found = [box]
    for place, layer in enumerate(layers):
        # Before the first ReLU intervals are exact, but for one linear layer after another.
        if isinstance(layer, nn.ReLU) and any(isinstance(one, nn.ReLU) for one in layers[:place]):
            found[place] = _narrowed(layers[:place], found)
        found.append(_through(layer, found[place]))
    return found


def margins(layers: Sequence[nn.Module], box: Box, decisions: Tensor) -> Tensor:
    """By how much the logit of the decision exceeds each other one at least, on the whole box: the least (B,).

    Above 0 no input of the box changes the decision.

    Args:
        layers: From `doubled`; the last one gives logits (B, C).
        box: Of B examples.
        decisions: (B,).
    """
    given = tightened(layers, box)
    count, classes = given[-1].low.shape
    own = nn.functional.one_hot(decisions, classes).to(box.low)
    sums = own.expand(classes, count, classes) - torch.eye(classes).to(box.low)[:, None]
    least = _least(layers, given, sums)
    return least.masked_fill(own.T.bool(), torch.inf).amin(dim=0)


def _through(layer: nn.Module, given: Box) -> Box:
    if isinstance(layer, nn.ReLU):
        return Box(low=given.low.clamp(min=0), high=given.high.clamp(min=0))
    middle, reach = layer((given.low + given.high) / 2), (given.high - given.low) / 2
    if isinstance(layer, WEIGHTED):
        weights = {name: value.abs() if name == "weight" else value * 0 for name, value in layer.named_parameters()}
        wide: Tensor = functional_call(layer, weights, (reach,))
    else:
        wide = (layer(reach) - layer(torch.zeros_like(reach))).abs()
    return Box(low=middle - wide, high=middle + wide)


def _narrowed(layers: Sequence[nn.Module], found: Sequence[Box]) -> Box:
    """Linear bounds of the places that no interval decides for all examples."""
    known = found[-1]
    low, high = known.low.flatten(start_dim=1).clone(), known.high.flatten(start_dim=1).clone()
    count, width = low.shape
    open_ = ((low < 0) & (high > 0)).any(dim=0).nonzero()[:, 0]
    if len(open_) > MANY:
        return known
    for places in open_.split(max(1, ROWS // (2 * count))):
        ones = nn.functional.one_hot(places, width).to(low)
        sums = torch.cat([ones, -ones])[:, None].expand(-1, count, -1).reshape(-1, *known.low.shape)
        below, above = _least(layers, found, sums).chunk(2)
        low[:, places] = torch.maximum(low[:, places], below.T)
        high[:, places] = torch.minimum(high[:, places], -above.T)
    return Box(low=low.reshape(known.low.shape), high=high.reshape(known.high.shape))


def _least(layers: Sequence[nn.Module], found: Sequence[Box], sums: Tensor) -> Tensor:
    """A lower bound of sums of what the last layer gives: (S, B, ...) -> (S, B)."""
    total = torch.zeros(sums.shape[:2]).to(sums)
    for layer, given in zip(reversed(layers), reversed(found[: len(layers)]), strict=True):
        if isinstance(layer, nn.ReLU):
            sums, more = _under_relu(sums, given)
        else:
            sums, more = _under_affine(layer, sums, given)
        total = total + more
    box = found[0]
    middle, reach = (box.low + box.high) / 2, (box.high - box.low) / 2
    return total + _summed(sums * middle - sums.abs() * reach)


def _under_relu(sums: Tensor, given: Box) -> tuple[Tensor, Tensor]:
    low, high = given.low, given.high
    open_ = (low < 0) & (high > 0)
    # Above: the line through both ends. Below: 0 or the input, whichever leaves the smaller area.
    above = torch.where(open_, high / (high - low).clamp(min=1e-300), (low >= 0).to(low))
    below = torch.where(open_, (high > -low).to(low), (low >= 0).to(low))
    fall, rise = sums.clamp(max=0), sums.clamp(min=0)
    return fall * above + rise * below, _summed(fall * torch.where(open_, -above * low, torch.zeros_like(low)))


def _under_affine(layer: nn.Module, sums: Tensor, given: Box) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        # The gradient of an affine layer is its matrix, and its answer to zeros is the rest of it.
        zeros = torch.zeros(sums.shape[0] * sums.shape[1], *given.low.shape[1:]).to(sums).requires_grad_()
        rest = layer(zeros)
        (back,) = torch.autograd.grad(rest, zeros, grad_outputs=sums.reshape(rest.shape))
    rest = rest.detach().reshape(sums.shape)
    return back.reshape(*sums.shape[:2], *given.low.shape[1:]), _summed(sums * rest)


def _summed(products: Tensor) -> Tensor:
    return products.flatten(start_dim=2).sum(dim=2)
