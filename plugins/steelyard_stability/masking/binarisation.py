# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
"""A task that an attack cannot fail honestly: one point of the ball is marked, and must be found (Zimmermann 2022)."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from steelyard_stability.attacks.aim import ClassAim
from steelyard_stability.attacks.cascade import Attack, Plan, cascade
from steelyard_stability.attacks.scene import Scene
from steelyard_stability.masking.check import Check
from steelyard_stability.masking.contests import edge

solve: Any = torch.linalg.solve
INNER, STREAM = 32, 1 << 22
INSIDE = 0.5
"""How far inside the ball the points lie that must not count as changed, in radii."""
MISSED = 0.25
FEW = 10
"""Examples on which such a task can be made, below which the test says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    """A detector upon the model's outputs that tells one point of each ball from points further inside.

    Attributes:
        weights: (N, C).
        limits: What the marked point alone exceeds (N,).
        sizes: What the outputs are divided by (N,).
    """

    weights: Tensor
    limits: Tensor
    sizes: Tensor


@torch.no_grad()
def binarisation(scene: Scene, plan: Plan) -> Check | None:
    """The share of such tasks that the white box attack fails; None where too few could be made.

    On top of the model's outputs a line is drawn between points inside the ball and one point on its edge, so that an
    input on the other side of it surely exists. An attack that follows a true gradient finds one.
    """
    aim = scene.aim
    assert isinstance(aim, ClassAim)
    rows = torch.arange(len(scene.centre), device=scene.centre.device)

    inside = replace(scene, ball=replace(scene.ball, radius=INSIDE * scene.ball.radius))
    inner = torch.stack(
        [
            scene.answers(points, rows).double()
            for points in (scene.centre, *(edge(inside, rows, stream=STREAM + 2 * draw) for draw in range(INNER)))
        ]
    )
    marked = scene.answers(edge(scene, rows, stream=STREAM + 2 * INNER), rows).double()
    found, apart = _marked(inner, marked)
    rows = apart.nonzero()[:, 0]
    if len(rows) < FEW:
        return None
    task = _scene(scene, found, rows)
    white = replace(plan, attacks=[attack for attack in plan.attacks if attack is not Attack.SQUARE])
    missed = ~cascade(task, white).fooled
    return Check(
        name="binarisation",
        value=float(missed.double().mean()),
        limit=MISSED,
        words="the attack misses points that are known to lie in the ball",
    )


def _marked(inner: Tensor, marked: Tensor) -> tuple[Marked, Tensor]:
    """The direction of least squares between the clouds, and for which rows it tells them apart."""
    mean, spread = inner.mean(dim=0), inner.std(dim=0).mean(dim=1)
    cloud = (inner - mean).permute(1, 0, 2)
    ridge = 1e-2 * spread.square().clamp(min=1e-20)
    width = cloud.shape[2]
    scatter = cloud.transpose(1, 2) @ cloud / cloud.shape[1]
    scatter = scatter + ridge[:, None, None] * torch.eye(width, dtype=cloud.dtype, device=cloud.device)
    weights: Tensor = solve(scatter, (marked - mean)[:, :, None])[:, :, 0]
    highest, mark = (weights * inner).sum(dim=2).amax(dim=0), (weights * marked).sum(dim=1)
    gap = mark - highest
    limits, sizes = highest + 0.9 * gap, gap.clamp(min=1e-20)
    return Marked(weights=weights, limits=limits, sizes=sizes), (gap > 0) & torch.isfinite(gap)


def _scene(scene: Scene, found: Marked, rows: Tensor) -> Scene:
    """The detector under attack: two classes, the marked side being the other one."""
    weights, limits, sizes = found.weights[rows], found.limits[rows], found.sizes[rows]

    def ask(points: Tensor, numbers: Tensor) -> Tensor:
        outputs = scene.aim.ask(points, rows[numbers]).double()
        score = ((outputs * weights[numbers]).sum(dim=1) - limits[numbers]) / sizes[numbers]
        return torch.stack([torch.zeros_like(score), score], dim=1).to(points)

    clean = torch.zeros(len(rows), 2, dtype=scene.centre.dtype, device=scene.centre.device)
    return replace(scene, aim=ClassAim.of(ask, clean), centre=scene.centre[rows], numbers=scene.numbers[rows])
