# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
"""Tests by other attacks: what knows less must not find more."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from steelyard_stability.attacks.aim import ClassAim
from steelyard_stability.attacks.ball import Norm, norms
from steelyard_stability.attacks.cascade import Attack, Plan, cascade
from steelyard_stability.attacks.chance import normal, uniform
from steelyard_stability.attacks.scene import Scene
from steelyard_stability.attacks.square import square
from steelyard_stability.masking.check import Check, surplus

SURE = 0.99
"""1 minus the p from which another attack counts as better."""
DRAWS, QUERIES = 10, 100
STANDING = 4
"""Questions an example that the stand-in learns from."""
LEFT = 0.05
"""Examples that may withstand an attack without a limit."""
FAR = 100.0
"""Radii that stand for no limit where the data has no range."""
WIDER = 3.0
STREAM = 1 << 21
solve: Any = torch.linalg.solve


@dataclass(frozen=True, slots=True, kw_only=True)
class Ring:
    """The attack in question and its rivals at one radius.

    Attributes:
        scene: Where.
        plan: The attack without the black box.
    """

    scene: Scene
    plan: Plan

    @property
    def rows(self) -> Tensor:
        """All of them."""
        return torch.arange(len(self.scene.centre), device=self.scene.centre.device)


def contests(scene: Scene, plan: Plan) -> Iterator[Check]:
    """The white box attack of a plan against what knows less, at its radius and beyond; then without a limit."""
    white = replace(plan, attacks=[attack for attack in plan.attacks if attack is not Attack.SQUARE])
    if not white.attacks:
        return
    near = Ring(scene=scene, plan=white)
    far = Ring(scene=_at(scene, WIDER * scene.ball.radius), plan=white)
    ours = torch.cat([cascade(ring.scene, white).fooled for ring in (near, far)])
    yield _beaten("noise", ours, [near, far], "random noise fools the model more often than the gradient does")
    yield _beaten("black_box", ours, [near, far], "questions fool the model more often than its gradient does")
    if isinstance(scene.aim, ClassAim):
        yield _beaten(
            "transfer", ours, [near, far], "a plain stand-in's gradient fools the model more often than its own"
        )
    yield from _longer(near, ours[: len(scene.centre)])
    yield _without_limit(scene, white)


def _beaten(name: str, ours: Tensor, rings: list[Ring], words: str) -> Check:
    rival = torch.cat([RIVALS[name](ring) for ring in rings])
    value = surplus(other=int((rival & ~ours).sum()), ours=int((ours & ~rival).sum()))
    return Check(name=name, value=value, limit=SURE, words=words)


def _noise(ring: Ring) -> Tensor:
    fooled = torch.zeros(len(ring.rows), dtype=torch.bool, device=ring.scene.centre.device)
    for draw in range(DRAWS):
        fooled |= ring.scene.judge(edge(ring.scene, ring.rows, stream=STREAM + 2 * draw), ring.rows)[0]
    return fooled


def _black_box(ring: Ring) -> Tensor:
    return square(ring.scene, ring.rows, count=QUERIES).fooled


@torch.no_grad()
def _transfer(ring: Ring) -> Tensor:
    """One step along the gradient of a linear model that answers alike near the examples (least squares)."""
    scene, aim = ring.scene, ring.scene.aim
    assert isinstance(aim, ClassAim)
    points = [scene.centre, *(edge(scene, ring.rows, stream=STREAM + 1000 + 2 * draw) for draw in range(STANDING))]
    answers = [scene.answers(given, ring.rows) for given in points]
    # What changes an answer, not where the example is: differences from the clean ones alone.
    moves = torch.cat([given - scene.centre for given in points[1:]]).flatten(start_dim=1)
    changes = torch.cat([answer - answers[0] for answer in answers[1:]]).double()
    # In its dual form: as many equations as questions, however large an example is.
    gram = (moves @ moves.mT).double()
    ridge = 1e-3 * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    solved: Tensor = solve(gram + ridge, changes)
    weights = solved.mT.to(moves) @ moves
    # The scene may hold fewer rows than there are decisions.
    apart = weights[aim.order[ring.rows, 0]] - weights[aim.decisions[ring.rows]]
    direction = apart.reshape(scene.centre.shape).to(scene.centre)
    direction = direction.sign() if scene.ball.norm is Norm.LINF else direction / norms(direction).clamp(min=1e-30)
    trial = scene.ball.around(scene.centre).project(scene.centre + scene.ball.radius * direction)
    return scene.judge(trial, ring.rows)[0]


RIVALS = {"noise": _noise, "black_box": _black_box, "transfer": _transfer}


def edge(scene: Scene, rows: Tensor, *, stream: int) -> Tensor:
    """A point on the edge of the ball for each row, drawn for the example."""
    centre, count = scene.centre[rows], scene.centre[0].numel()
    numbers = scene.numbers[rows]
    if scene.ball.norm is Norm.LINF:
        change = 2 * (uniform(numbers, count, seed=scene.seed, stream=stream) < 0.5).double() - 1
    else:
        change = normal(numbers, count, seed=scene.seed, stream=stream)
        change = change / norms(change)
    moved = centre + scene.ball.radius * change.reshape(centre.shape).to(centre)
    return scene.ball.around(centre).project(moved)


def _longer(ring: Ring, ours: Tensor) -> Iterator[Check]:
    found = cascade(ring.scene, ring.plan)
    again, _ = ring.scene.judge(found.inputs, ring.rows)
    yield Check(
        name="silent_success",
        value=float((found.fooled != again).double().mean()),
        limit=0.02,
        words="inputs that fooled the model do not fool it again, or the attack did not notice that they do",
    )
    longer = replace(ring.plan, steps=2 * ring.plan.steps, restarts=ring.plan.restarts + 1)
    more = cascade(ring.scene, longer).fooled
    yield Check(
        name="incomplete",
        value=surplus(other=int((more & ~ours).sum()), ours=0),
        limit=SURE,
        words="twice the steps fool many more: the attack stops too early (raise stability.adversarial.steps)",
    )


def _without_limit(scene: Scene, plan: Plan) -> Check:
    bounds, count = scene.ball.bounds, scene.centre[0].numel()
    widest = FAR * scene.ball.radius if bounds is None else bounds[1] - bounds[0]
    widest *= 1.0 if bounds is None or scene.ball.norm is Norm.LINF else math.sqrt(count)
    left = ~cascade(_at(scene, widest), plan).fooled
    return Check(
        name="unbounded",
        value=float(left.double().mean()),
        limit=max(LEFT, 1.5 / len(left)),
        words="even an attack without a limit does not change the decision",
    )


def _at(scene: Scene, radius: float) -> Scene:
    return replace(scene, ball=replace(scene.ball, radius=radius))
