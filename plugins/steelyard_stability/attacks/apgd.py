"""PGD that finds its own step: APGD (Croce and Hein 2020)."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from steelyard_stability.attacks.aim import LIKELIHOOD, Loss
from steelyard_stability.attacks.ball import Region, steepest
from steelyard_stability.attacks.scene import Found, Scene

MOMENTUM = 0.75
ENOUGH = 0.75
"""Part of the steps since the last check that must have raised the loss for the step to stay as it is."""
FIRST_GAP, LAST_GAP = 8, 4
"""Steps between checks, one fewer each time. In the paper they follow from the number of steps; here they do not, so
that more steps find all that fewer find."""


@dataclass(slots=True, kw_only=True)
class _Walk:
    """The rows that are still unfooled, all of one length."""

    rows: Tensor
    inputs: Tensor
    before: Tensor
    gradient: Tensor
    step: Tensor
    best: Tensor
    best_gradient: Tensor
    best_loss: Tensor
    last_loss: Tensor
    checked_loss: Tensor
    rises: Tensor
    halved: Tensor

    def keep(self, stay: Tensor) -> None:
        """Drops the other rows."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name)[stay])


def apgd(scene: Scene, rows: Tensor, start: Tensor, *, count: int, loss: Loss = LIKELIHOOD) -> Found:
    """Steps with momentum; where the loss has stopped rising the step is halved and the walk returns to its best point.

    Args:
        scene: Where.
        rows: Which of its rows (b,).
        start: Where to start (b, ...).
        count: Gradient steps.
        loss: What is climbed.
    """
    region = scene.ball.around(scene.centre[rows])
    inputs = region.project(start)
    end, fooled = inputs.clone(), torch.zeros(len(rows), dtype=torch.bool, device=inputs.device)
    if not len(rows) or scene.late:
        return Found(inputs=end, fooled=fooled, whole=not len(rows))
    look = scene.look(inputs, rows, loss)
    looks = len(rows)
    walk = _start(inputs, look.gradient, look.losses, radius=scene.ball.radius)
    now, gap, since, whole = look.fooled, FIRST_GAP, 0, True
    for number in range(count):
        if bool(now.any()):
            end[walk.rows[now]], fooled[walk.rows[now]] = walk.inputs[now], True
            region = region.take(~now)
            walk.keep(~now)
        if not len(walk.rows):
            break
        if scene.late:
            whole = False
            break
        _step(scene, walk, region, momentum=MOMENTUM if number else 1.0)
        look = scene.look(walk.inputs, rows[walk.rows], loss)
        looks += len(walk.rows)
        now, since = look.fooled, since + 1
        _learn(walk, look.gradient, look.losses)
        if since == gap:
            # A fooled row is on its way out; the check must not send it back.
            _check(walk, gap=gap, leave=now)
            gap, since = max(gap - 1, LAST_GAP), 0
    else:
        end[walk.rows[now]], fooled[walk.rows[now]] = walk.inputs[now], True
        walk.keep(~now)
    end[walk.rows] = walk.best
    return Found(inputs=end, fooled=fooled, whole=whole, looks=looks)


def _start(inputs: Tensor, gradient: Tensor, losses: Tensor, *, radius: float) -> _Walk:
    count, device = len(inputs), inputs.device
    return _Walk(
        rows=torch.arange(count, device=device),
        inputs=inputs,
        before=inputs,
        gradient=gradient,
        step=torch.full((count, *[1] * (inputs.dim() - 1)), 2 * radius, dtype=inputs.dtype, device=device),
        best=inputs,
        best_gradient=gradient,
        best_loss=losses,
        last_loss=losses,
        checked_loss=losses,
        rises=torch.zeros(count, dtype=torch.long, device=device),
        halved=torch.zeros(count, dtype=torch.bool, device=device),
    )


def _step(scene: Scene, walk: _Walk, region: Region, *, momentum: float) -> None:
    ahead = region.project(walk.inputs + walk.step * steepest(walk.gradient, scene.ball.norm))
    moved = momentum * (ahead - walk.inputs) + (1 - momentum) * (walk.inputs - walk.before)
    walk.before, walk.inputs = walk.inputs, region.project(walk.inputs + moved)


def _learn(walk: _Walk, gradient: Tensor, losses: Tensor) -> None:
    walk.gradient = gradient
    walk.rises = walk.rises + (losses > walk.last_loss)
    walk.last_loss = losses
    better = losses > walk.best_loss
    wide = _wide(better, gradient)
    walk.best = torch.where(wide, walk.inputs, walk.best)
    walk.best_gradient = torch.where(wide, gradient, walk.best_gradient)
    walk.best_loss = torch.where(better, losses, walk.best_loss)


def _check(walk: _Walk, *, gap: int, leave: Tensor) -> None:
    swings = walk.rises <= ENOUGH * gap
    stuck = ~walk.halved & (walk.checked_loss >= walk.best_loss)
    halve = (swings | stuck) & ~leave
    wide = _wide(halve, walk.inputs)
    walk.step = torch.where(wide, walk.step / 2, walk.step)
    walk.inputs = torch.where(wide, walk.best, walk.inputs)
    walk.gradient = torch.where(wide, walk.best_gradient, walk.gradient)
    walk.halved, walk.checked_loss = halve, walk.best_loss
    walk.rises = torch.zeros_like(walk.rises)


def _wide(flags: Tensor, like: Tensor) -> Tensor:
    return flags.reshape(-1, *[1] * (like.dim() - 1))
