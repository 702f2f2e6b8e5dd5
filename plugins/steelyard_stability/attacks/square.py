"""The black box attack: random squares, kept where they help (Square; Andriushchenko et al. 2020)."""

import math

import torch
from torch import Tensor

from steelyard_stability.attacks.aim import LIKELIHOOD, Climb, Loss
from steelyard_stability.attacks.ball import Norm, Region, norms
from steelyard_stability.attacks.chance import uniform
from steelyard_stability.attacks.scene import Found, Scene

STREAM = 1 << 32
"""Where the draws of this attack begin."""
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Questions after which the squares get half as large; they do not depend on how many are asked."""
SHARE = 0.8
"""Part of the example that the first squares cover."""


def square(scene: Scene, rows: Tensor, *, count: int, start: Tensor | None = None) -> Found:
    """Asks `count` times with a random square changed to the edge of the ball; needs no gradient.

    What is no picture is seen as one: a sound or a row of a table as one line, frames as channels. For Linf a square
    takes one of the two extreme values in each channel, as in the paper; for L2 it gets random signs, and the whole
    change is brought back to the radius.

    Args:
        scene: Where.
        rows: Which of its rows (b,).
        count: Questions.
        start: Where to start (b, ...); None for the stripes of the paper.
    """
    loss = Loss(climb=Climb.MARGIN) if Climb.MARGIN in scene.aim.climbs else LIKELIHOOD
    region = scene.ball.around(scene.centre[rows])
    end = _stripes(scene, region, rows) if start is None else region.project(start)
    fooled = torch.zeros(len(rows), dtype=torch.bool, device=end.device)
    alive = torch.arange(len(rows), device=end.device)
    inputs = end.clone()
    looks, best = 0, torch.full((len(rows),), -torch.inf, device=end.device)
    for number in range(count):
        if not len(alive) or scene.late:
            break
        # The start is a question, too.
        trial = inputs if number == 0 else region.project(_proposal(scene, region, rows[alive], inputs, number))
        hit, losses = scene.judge(trial, rows[alive], loss)
        looks += len(alive)
        better = (losses > best) | hit
        inputs = torch.where(better.reshape(-1, *[1] * (inputs.dim() - 1)), trial, inputs)
        best = torch.where(better, losses, best)
        if bool(hit.any()):
            end[alive[hit]], fooled[alive[hit]] = trial[hit], True
            stay = ~hit
            alive, inputs, best, region = alive[stay], inputs[stay], best[stay], region.take(stay)
    if len(alive):
        end[alive] = inputs
    return Found(inputs=end, fooled=fooled, whole=not (len(alive) and scene.late), looks=looks)


def planes(shape: torch.Size) -> tuple[int, int, int]:
    """An example's shape as channels, height and width: what comes before the last two dimensions are channels."""
    if len(shape) < 2:
        return 1, 1, math.prod(shape)
    return math.prod(shape[:-2]), shape[-2], shape[-1]


def _share(number: int) -> float:
    return SHARE / 2 ** sum(number > limit for limit in HALVINGS)


def _stripes(scene: Scene, region: Region, rows: Tensor) -> Tensor:
    """Every column of every channel up or down by all that is allowed."""
    channels, height, width = planes(region.centre.shape[1:])
    draws = uniform(scene.numbers[rows], channels * width, seed=scene.seed, stream=STREAM)
    signs = (2 * (draws < 0.5).double() - 1).reshape(-1, channels, 1, width).expand(-1, -1, height, -1)
    change = signs.reshape(region.centre.shape).to(region.centre)
    # Of the length of the radius in either norm.
    change = change if scene.ball.norm is Norm.LINF else change / norms(change)
    return region.project(region.centre + scene.ball.radius * change)


def _proposal(scene: Scene, region: Region, rows: Tensor, inputs: Tensor, number: int) -> Tensor:
    channels, height, width = planes(inputs.shape[1:])
    sides = _sides(_share(number), height, width)
    draws = uniform(scene.numbers[rows], 2 + channels, seed=scene.seed, stream=STREAM + number)
    inside = _inside(draws[:, 0], height, sides[0])[:, :, None] & _inside(draws[:, 1], width, sides[1])[:, None, :]
    signs = (2 * (draws[:, 2:] < 0.5).double() - 1).to(inputs)[:, :, None, None]
    flat, centre = (tensor.reshape(-1, channels, height, width) for tensor in (inputs, region.centre))
    radius = scene.ball.radius
    if scene.ball.norm is Norm.LINF:
        return torch.where(inside[:, None], centre + radius * signs, flat).reshape(inputs.shape)
    # The square takes half of the squared length, whatever its size.
    change = flat - centre
    patch = inside[:, None] * signs / math.sqrt(channels * sides[0] * sides[1])
    rest = change * ~inside[:, None]
    length = norms(rest).clamp(min=1e-12)
    change = math.sqrt(0.5) * radius * (patch + rest / length)
    return (centre + change / norms(change).clamp(min=1e-12) * radius).reshape(inputs.shape)


def _sides(share: float, height: int, width: int) -> tuple[int, int]:
    """A square of this share of the area, cut off where the example is flatter than that."""
    side = max(1, round(math.sqrt(share * height * width)))
    if side <= min(height, width):
        return side, side
    flat = min(height, width)
    long = min(max(height, width), max(1, round(share * height * width / flat)))
    return (flat, long) if height <= width else (long, flat)


def _inside(draws: Tensor, length: int, side: int) -> Tensor:
    """Which of `length` places a window covers that begins where the draw says: (b, length)."""
    first = (draws * (length - side + 1)).long()[:, None]
    places = torch.arange(length, device=draws.device)
    return (places >= first) & (places < first + side)
