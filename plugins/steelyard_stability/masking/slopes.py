"""Tests of the gradient, by a few looks at each example."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from steelyard_stability.attacks.aim import LIKELIHOOD, ClassAim, Climb, Loss
from steelyard_stability.attacks.ball import steepest
from steelyard_stability.attacks.pgd import random_start
from steelyard_stability.attacks.scene import Look, Scene
from steelyard_stability.masking.check import Check

STREAM = 1 << 20
"""Of the points that are looked at: not those that an attack starts from."""
SAME, SAME_SLOPE, SAME_ALONE = 1e-4, 1e-2, 1e-3
"""Relative differences between two answers to one question that rounding may make."""
ZEROS = 0.05
WRONG_BY, WRONG = 0.5, 0.3
ROUGH = 1.0
ASKED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Points near the examples, with room to step in the raw range.

    Attributes:
        scene: Where.
        rows: All of its rows.
        points: One for each row.
        step: How far it is stepped from there, in the norm of the ball.
        loss: What is climbed.
    """

    scene: Scene
    rows: Tensor
    points: Tensor
    step: float
    loss: Loss

    @staticmethod
    def of(scene: Scene, *, step: float, loss: Loss) -> "Place":
        """Drawn in the ball."""
        rows = torch.arange(len(scene.centre), device=scene.centre.device)
        points = random_start(scene, rows, stream=STREAM)
        if scene.ball.bounds is not None:
            low, high = scene.ball.bounds
            room = min(2 * step, (high - low) / 4)
            points = points.clamp(low + room, high - room)
        return Place(scene=scene, rows=rows, points=points, step=step, loss=loss)

    def losses(self, points: Tensor) -> Tensor:
        """One pass forward."""
        return self.scene.judge(points, self.rows, self.loss)[1]


def slopes(place: Place) -> Iterator[Check]:
    """The checks that take a few looks."""
    first = place.scene.look(place.points, place.rows, place.loss)
    size = first.losses.abs().median().clamp(min=1e-6)
    yield _repeats(place, first, size)
    yield _peeks(place, first, size)
    yield _company(place, first, size)
    yield _zeros(first)
    yield from _differences(place, first, size)
    if isinstance(place.scene.aim, ClassAim):
        yield _probabilities(place)


def _repeats(place: Place, first: Look, size: Tensor) -> Check:
    """Random answers, and random gradients of steady answers."""
    worst = 0.0
    for _ in range(ASKED - 1):
        again = place.scene.look(place.points, place.rows, place.loss)
        slope = first.gradient.abs().flatten(start_dim=1).amax(dim=1).clamp(min=1e-30)
        turned = (again.gradient - first.gradient).abs().flatten(start_dim=1).amax(dim=1) / slope
        moved = (again.losses - first.losses).abs().max() / size
        worst = max(worst, float(moved) / SAME, float(turned.median()) / SAME_SLOPE)
    return Check(
        name="repeats",
        value=worst,
        limit=1.0,
        words="the same input gave another answer or another gradient: the model draws random numbers",
    )


def _peeks(place: Place, first: Look, size: Tensor) -> Check:
    moved = (place.losses(place.points) - first.losses).abs().max() / size
    return Check(
        name="peeks",
        value=float(moved) / SAME,
        limit=1.0,
        words="the model answers otherwise when its gradient is asked for",
    )


def _company(place: Place, first: Look, size: Tensor) -> Check:
    back = place.rows.flip(0)
    half = max(1, len(back) // 2)
    parts = [
        place.scene.judge(place.points[part], part, place.loss)[1] for part in (back[:half], back[half:]) if len(part)
    ]
    moved = (torch.cat(parts).flip(0) - first.losses).abs().max() / size
    return Check(
        name="company",
        value=float(moved) / SAME_ALONE,
        limit=1.0,
        words="the answer depends on the other examples of the batch",
    )


def _zeros(first: Look) -> Check:
    still = (first.gradient == 0).flatten(start_dim=1).all(dim=1)
    return Check(
        name="zero_gradient",
        value=float(still.double().mean()),
        limit=ZEROS,
        words="the gradient is zero, so an attack along it goes nowhere",
    )


def _differences(place: Place, first: Look, size: Tensor) -> Iterator[Check]:
    """The slope along the gradient, as it is promised and as two more looks find it.

    No farther than the gradient promises a whole loss: beyond that an honest model, too, is as curved as it likes.
    """
    direction = steepest(first.gradient, place.scene.ball.norm)
    promised = (first.gradient.double() * direction.double()).flatten(start_dim=1).sum(dim=1)
    whole = torch.maximum(first.losses.abs(), size).double() / promised.clamp(min=1e-30)
    step = whole.clamp(max=place.step)
    moved = step.to(direction).reshape(-1, *[1] * (direction.dim() - 1)) * direction
    ahead, behind = (place.losses(place.points + sign * moved).double() for sign in (1, -1))
    found = (ahead - behind) / (2 * step)
    known = promised > 0
    wrong = ((found - promised).abs() > WRONG_BY * promised) & known
    count = max(1, int(known.sum()))
    yield Check(
        name="finite_differences",
        value=int(wrong.sum()) / count,
        limit=WRONG,
        words="the gradient is not the slope of the loss",
    )
    bent = (ahead - 2 * first.losses.double() + behind).abs() / (2 * step * promised.clamp(min=1e-30))
    yield Check(
        name="unstable",
        value=float(bent[known].median()) if bool(known.any()) else 0.0,
        limit=ROUGH,
        words="the loss jumps from point to point, so its gradient foretells nothing",
    )


@torch.no_grad()
def _probabilities(place: Place) -> Check:
    outputs = place.scene.aim.ask(place.points[: place.scene.batch], place.rows[: place.scene.batch])
    chances = (outputs >= 0).all(dim=1) & ((outputs.sum(dim=1) - 1).abs() < 1e-4)
    return Check(
        name="probabilities",
        value=float(chances.double().mean()),
        limit=0.5,
        words="the outputs are probabilities where logits are wanted, so that the loss is flat",
    )


def loss_of(climbs: frozenset[Climb], *, margin: bool) -> Loss:
    """What the tests climb: the margin where the attack does so, too."""
    return Loss(climb=Climb.MARGIN) if margin and Climb.MARGIN in climbs else LIKELIHOOD
