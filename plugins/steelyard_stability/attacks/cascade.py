"""One attack after the other, cheap ones first, each on what the ones before it left standing."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import torch
from torch import Tensor

from steelyard_stability.attacks.aim import LIKELIHOOD, Climb, Loss
from steelyard_stability.attacks.apgd import apgd
from steelyard_stability.attacks.pgd import Steps, fgsm, pgd, random_start
from steelyard_stability.attacks.scene import Found, Scene
from steelyard_stability.attacks.square import square


class Attack(StrEnum):
    """The attacks that a cascade may be made of."""

    FGSM = "fgsm"
    """One step on the likelihood."""
    PGD = "pgd"
    """Steps of one length on the likelihood, from the clean input or what a smaller ball gave, then from chance."""
    APGD = "apgd"
    """Steps that find their length, on the likelihood."""
    MARGIN = "margin"
    """The same on the margin, as a ratio where there are three classes: scaled logits do not stop it."""
    TARGET = "target"
    """The same towards each of the likeliest other classes."""
    SQUARE = "square"
    """Random squares; no gradient."""


EVERY = tuple(Attack)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a cascade does.

    Attributes:
        attacks: In this order.
        steps: Gradient steps of each attack and start.
        restarts: Random starts of PGD, APGD and the margin.
        targets: Other classes that are tried one by one.
        queries: Questions of the black box attack.
    """

    attacks: Sequence[Attack] = EVERY
    steps: int = 40
    restarts: int = 1
    targets: int = 3
    queries: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Fall:
    """What became of the examples of a scene in one ball.

    Attributes:
        inputs: The input that fooled the model, in the smallest ball in which one was found; else the last one tried.
        fooled: Whether the decision can be changed (N,).
        finished: Whether that is known: fooled, or every attack came to its end (N,).
        by: How many examples each attack was the first to fool.
        looks: Rows through the model.
    """

    inputs: Tensor
    fooled: Tensor
    finished: Tensor
    by: Mapping[str, int]
    looks: int


def curve(scene: Scene, radii: Sequence[float], plan: Plan) -> list[Fall]:
    """A cascade at each radius, from the smallest to the largest.

    What a smaller ball gave lies in the larger one: who is fooled stays fooled, and the others start from there.

    Args:
        scene: Where; its ball gives the norm and the bounds.
        radii: Above 0 and rising.
        plan: What is tried.
    """
    falls: list[Fall] = []
    for radius in radii:
        here = replace(scene, ball=replace(scene.ball, radius=radius))
        falls.append(cascade(here, plan, before=falls[-1] if falls else None))
    return falls


def cascade(scene: Scene, plan: Plan, *, before: Fall | None = None) -> Fall:
    """Every attack of the plan on the examples that the ones before it did not fool.

    Args:
        scene: Where.
        plan: What is tried.
        before: What a smaller ball gave.
    """
    count, device = len(scene.centre), scene.centre.device
    inputs = scene.centre.clone() if before is None else before.inputs.clone()
    fooled = torch.zeros(count, dtype=torch.bool, device=device) if before is None else before.fooled.clone()
    by: dict[str, int] = {}
    looks, whole = 0, True
    for name, attack in _moves(scene, plan, inputs.clone()):
        rows = (~fooled).nonzero()[:, 0]
        if not len(rows):
            break
        found = attack(rows)
        inputs[rows], fooled[rows] = found.inputs, found.fooled
        by[name] = by.get(name, 0) + int(found.fooled.sum())
        looks, whole = looks + found.looks, whole and found.whole
    return Fall(inputs=inputs, fooled=fooled, finished=fooled | whole, by=by, looks=looks)


Move = Callable[[Tensor], Found]


def _moves(scene: Scene, plan: Plan, start: Tensor) -> Iterator[tuple[str, Move]]:
    for attack in plan.attacks:
        for move in _ways(attack, scene, plan, start):
            yield attack, move


def _ways(attack: Attack, scene: Scene, plan: Plan, start: Tensor) -> Iterator[Move]:
    climbs = scene.aim.climbs
    match attack:
        case Attack.FGSM:
            yield lambda rows: fgsm(scene, rows)
        case Attack.PGD:
            steps = Steps(count=plan.steps)
            yield lambda rows: pgd(scene, rows, start[rows], steps=steps)
            for stream in _streams(plan):
                yield lambda rows, stream=stream: pgd(
                    scene, rows, random_start(scene, rows, stream=stream), steps=steps
                )
        case Attack.APGD:
            yield from _adaptive(scene, plan, LIKELIHOOD)
        case Attack.MARGIN:
            if climbs & {Climb.RATIO, Climb.MARGIN}:
                yield from _adaptive(scene, plan, Loss(climb=Climb.RATIO if Climb.RATIO in climbs else Climb.MARGIN))
        case Attack.TARGET:
            # Of two classes the other one is what the margin goes for already.
            for rank in range(1, 1 + min(plan.targets, scene.aim.others) if scene.aim.others > 1 else 0):
                yield from _adaptive(scene, replace(plan, restarts=1), Loss(climb=Climb.TARGET, rank=rank))
        case Attack.SQUARE:
            yield lambda rows: square(scene, rows, count=plan.queries)


def _adaptive(scene: Scene, plan: Plan, loss: Loss) -> Iterator[Move]:
    for stream in _streams(plan):
        yield lambda rows, stream=stream: apgd(
            scene, rows, random_start(scene, rows, stream=stream), count=plan.steps, loss=loss
        )


def _streams(plan: Plan) -> range:
    """A draw in an L2 ball takes two streams."""
    return range(0, 2 * plan.restarts, 2)
