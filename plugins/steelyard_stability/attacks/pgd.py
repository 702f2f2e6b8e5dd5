"""The gradient's attacks of fixed step: FGSM and PGD."""

from dataclasses import dataclass

import torch
from torch import Tensor

from steelyard_stability.attacks.aim import LIKELIHOOD, Loss
from steelyard_stability.attacks.ball import Norm, Region, norms
from steelyard_stability.attacks.chance import normal, uniform
from steelyard_stability.attacks.scene import Found, Scene


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """How a gradient attack walks.

    Attributes:
        count: Gradient steps.
        step: Length of a step in radii; it does not depend on `count`, so that more steps find all that fewer find.
        loss: What is climbed.
        early: Whether an example leaves as soon as it is fooled or goes in a circle; else the last input alone counts.
    """

    count: int
    step: float = 0.25
    loss: Loss = LIKELIHOOD
    early: bool = True


def fgsm(scene: Scene, rows: Tensor, *, loss: Loss = LIKELIHOOD) -> Found:
    """One step of the whole radius (Goodfellow et al. 2015).

    Args:
        scene: Where.
        rows: Which of its rows (b,).
        loss: What is climbed.
    """
    return pgd(scene, rows, scene.centre[rows], steps=Steps(count=1, step=1.0, loss=loss))


def pgd(scene: Scene, rows: Tensor, start: Tensor, *, steps: Steps) -> Found:
    """Steps along the gradient, each followed by a projection (Madry et al. 2018).

    Args:
        scene: Where.
        rows: Which of its rows (b,).
        start: Where to start (b, ...): the clean inputs, `random_start`, or what a smaller ball gave.
        steps: How.
    """
    return _leaving(scene, rows, start, steps) if steps.early else _staying(scene, rows, start, steps)


def _leaving(scene: Scene, rows: Tensor, start: Tensor, steps: Steps) -> Found:
    """Every step on all of whom it is not known yet, so that those who left make room in the batches."""
    region = scene.ball.around(scene.centre[rows])
    inputs = region.project(start)
    end, fooled = inputs.clone(), torch.zeros(len(rows), dtype=torch.bool, device=inputs.device)
    alive = torch.arange(len(rows), device=inputs.device)
    looks, reach, here, before = 0, steps.step * scene.ball.radius, rows, inputs
    for number in range(steps.count):
        if not len(alive) or scene.late:
            break
        looks += len(alive)
        look = scene.look(inputs, here, steps.loss)
        ahead, goes = region.step(inputs, look.gradient, length=reach), look.fooled
        # Places once, where there are any: each question by booleans would look for them again.
        if len(down := goes.nonzero()[:, 0]):
            done = alive[down]
            end[done], fooled[done] = inputs[down], True
        if number and region.reach is None:
            # Who comes back to where it was a step ago goes to and fro from there on, between points that did not fool.
            back = ~goes & (ahead == before).flatten(start_dim=1).all(dim=1)
            if len(round_ := back.nonzero()[:, 0]):
                end[alive[round_]] = (inputs if (steps.count - number) % 2 == 0 else ahead)[round_]
                goes = goes | back
        stay = (~goes).nonzero()[:, 0]
        if len(stay) == len(alive):
            before, inputs = inputs, ahead
        else:
            alive, here, before, inputs, region = alive[stay], here[stay], inputs[stay], ahead[stay], region.take(stay)
    late = scene.late
    if len(alive):
        end[alive] = inputs
        fooled[alive], _ = scene.judge(inputs, here)
        looks += len(alive)
    return Found(inputs=end, fooled=fooled, whole=not late, looks=looks)


def _staying(scene: Scene, rows: Tensor, start: Tensor, steps: Steps) -> Found:
    """All steps of one batch before the next, which a processor that keeps one batch near is faster at."""
    region = scene.ball.around(scene.centre[rows])
    end, reach, looks = region.project(start), steps.step * scene.ball.radius, len(rows)
    for part in scene.parts(len(rows)):
        point, around = end[part], region.take(part)
        slope = scene.slope(rows[part], steps.loss)
        for _ in range(steps.count):
            if scene.late:
                break
            looks += len(point)
            around.walk(point, slope(point), length=reach)
    late = scene.late
    return Found(inputs=end, fooled=scene.judge(end, rows)[0] if len(rows) else rows < 0, whole=not late, looks=looks)


def random_start(scene: Scene, rows: Tensor, *, stream: int) -> Tensor:
    """A point of the ball for each row (b, ...), drawn for the example whatever batch it is in.

    Args:
        scene: Where.
        rows: Which of its rows (b,).
        stream: Another one gives other points, as a restart needs.
    """
    region = scene.ball.around(scene.centre[rows])
    return region.project(region.centre + _draw(scene, region, rows, stream))


def _draw(scene: Scene, region: Region, rows: Tensor, stream: int) -> Tensor:
    numbers, like = scene.numbers[rows], region.centre
    count = like[0].numel()
    if scene.ball.norm is Norm.LINF:
        flat = 2 * uniform(numbers, count, seed=scene.seed, stream=stream) - 1
        return scene.ball.radius * flat.reshape(like.shape).to(like)
    # Uniform in the ball: direction of a normal vector, radius by the share of the volume.
    direction = normal(numbers, count, seed=scene.seed, stream=stream).reshape(like.shape)
    inside = uniform(numbers, 1, seed=scene.seed, stream=stream + 1) ** (1 / count)
    length = inside.reshape(-1, *[1] * (like.dim() - 1)) * scene.ball.radius
    return (direction / norms(direction) * length).to(like)
