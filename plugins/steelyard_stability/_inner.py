"""The attack inside a training step, as pure functions: what it draws belongs to the example, whatever its batch."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from steelyard_stability.attacks.ball import Ball, Norm, norms, steepest
from steelyard_stability.attacks.chance import mixed, normal, uniform
from steelyard_stability.attacks.scene import slope

Losses = Callable[[Tensor], Tensor]
"""Inputs (B, ...) -> the loss of each (B,), differentiable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Climbed:
    """Where the attack came to.

    Attributes:
        inputs: Inside the ball (B, ...).
        first: The loss of each example where the attack began (B,).
        last: The same before its last step (B,).
    """

    inputs: Tensor
    first: Tensor
    last: Tensor


def climb(centre: Tensor, start: Tensor, losses: Losses, *, ball: Ball, steps: int, step: float) -> Climbed:
    """PGD that goes on to its end (Madry et al. 2018).

    Args:
        centre: The clean inputs (B, ...).
        start: Where to begin (B, ...).
        losses: What is climbed.
        ball: How far it may go.
        steps: How many, at least 1.
        step: Length of a step in radii.
    """
    region = ball.around(centre)
    point = region.project(start)
    seen: list[Tensor] = []
    for _ in range(steps):
        with torch.enable_grad():
            leaf = point.detach().requires_grad_()
            found = losses(leaf)
            gradient = slope(found, leaf)
        seen.append(found.detach())
        point = region.project(point + step * ball.radius * steepest(gradient, ball.norm))
    return Climbed(inputs=point, first=seen[0], last=seen[-1])


def random_point(centre: Tensor, *, ball: Ball, seed: int, stream: int) -> Tensor:
    """A point of the ball round each example (B, ...), uniform for Linf; the same for equal examples.

    For L2 the direction is uniform and the length is uniform in its share of the volume.

    Args:
        centre: The clean inputs (B, ...); padding should be 0.
        ball: How far.
        seed: Of the run.
        stream: Another one gives other points: the step.
    """
    numbers, count = keys(centre), centre[0].numel()
    if ball.norm is Norm.LINF:
        draw = 2 * uniform(numbers, count, seed=seed, stream=stream) - 1
        return centre + ball.radius * draw.reshape(centre.shape).to(centre)
    direction = normal(numbers, count, seed=seed, stream=2 * stream).reshape(centre.shape)
    inside = uniform(numbers, 1, seed=seed, stream=2 * stream + 1) ** (1 / count)
    length = inside.reshape(-1, *[1] * (centre.dim() - 1)) * ball.radius
    return centre + (direction / norms(direction) * length).to(centre)


def keys(inputs: Tensor) -> Tensor:
    """A number for each example (B,), from all of its bits and their places."""
    words = inputs.detach().float().flatten(start_dim=1).contiguous().view(torch.int32).long()
    places = torch.arange(words.shape[1], device=words.device)
    # Values of 0 add nothing, so that padding to another length changes no number.
    return (mixed(words ^ mixed(places)) * (words != 0)).sum(dim=1)
