"""Units that lie side by side, put together where each of them would cost too much to ask about."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from steelyard_interpretability.methods.question import Question

MOST = 64
"""Units above which coalitions are of neighbours: each further one asks for more of them."""


def grouped(question: Question, *, most: int = MOST) -> Question:
    """The same question about at most so many units.

    Neighbours on the grid of the units are put together: squares of a picture, runs of a sequence.
    """
    if question.present.shape[1] <= most:
        return question
    group = group_of(question.units, most=most)
    present = question.present.new_zeros(len(question.present), int(group.max()) + 1)
    present = present.int().index_add_(1, group, question.present.int()) > 0
    return replace(question, units=group[question.units], present=present)


def group_of(units: Tensor, *, most: int = MOST) -> Tensor:
    """The number of the group of each unit (K,), at most so many of them: squares of a picture, runs of a sequence.

    Args:
        units: The unit of each element of an example.
        most: A square number.
    """
    sides = grid(units)
    count = math.prod(sides)
    numbers = torch.arange(count, device=units.device)
    if count <= most:
        return numbers
    if len(sides) == 1:
        return numbers * most // count
    height, width = sides
    parts = math.isqrt(most)
    down, across = min(parts, height), min(parts, width)
    return (numbers // width) * down // height * across + (numbers % width) * across // width


def grid(units: Tensor) -> tuple[int, ...]:
    """The sides of the grid that the units form: (height, width) where each plane of an example counts them row by row.

    Anything else is a sequence: (K,).
    """
    count = int(units.max()) + 1
    if units.dim() >= 2:
        height, width = units.shape[-2:]
        plane = torch.arange(height * width, device=units.device).view(height, width)
        if height * width == count and bool((units == plane).all()):
            return height, width
    return (count,)
