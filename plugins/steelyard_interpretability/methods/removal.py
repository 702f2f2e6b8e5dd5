"""Methods that take something away and look at what becomes of the score."""

from collections.abc import Sequence

import torch
from torch import Tensor

from steelyard_interpretability.methods.grouping import grid, grouped
from steelyard_interpretability.methods.question import Question, masked, spread

WINDOWS = 8
"""Windows, half overlapping, that cover a side of a picture about twice."""
PIXELS = 256
"""Pixels above which squares of them leave together: one of thousands hardly moves a score."""


def ablation(question: Question) -> Tensor:
    """What the score loses when one unit after the other is set to the baseline, shared by the unit's elements.

    Of a picture of more than 256 pixels, squares of them leave together, 16 to a side.
    """
    coarse = grouped(question, most=PIXELS) if len(grid(question.units)) > 1 else question
    units = coarse.present.shape[1]
    keep = ~torch.eye(units + 1, units, dtype=torch.bool, device=question.inputs.device)
    answers = masked(question.score, coarse, keep)
    return spread(answers[:, -1:] - answers[:, :-1], question, units=coarse.units)


def occlusion(
    question: Question, *, window: Sequence[int] | None = None, stride: Sequence[int] | None = None
) -> Tensor:
    """What the score loses when a window slides over the input (Zeiler and Fergus 2014).

    An element gets the mean loss of the windows over it. The window has the sides of the units' grid: two for images,
    one for a sequence. As in Captum, the last window of a row may be cut by the edge.

    Args:
        question: What is asked.
        window: Units along each side; None for a quarter of a picture's side, and one unit of a sequence.
        stride: Units from one window to the next; None for half a window.
    """
    sides = grid(question.units)
    window = [max(1, 2 * side // WINDOWS) if len(sides) > 1 else 1 for side in sides] if window is None else window
    stride = [max(1, width // 2) for width in window] if stride is None else stride
    hidden = _windows(sides, window, stride).to(question.inputs.device)
    units = hidden.shape[1]
    nothing = torch.zeros(1, units, dtype=torch.bool, device=hidden.device)
    answers = masked(question.score, question, ~torch.cat([hidden, nothing]))
    lost = (answers[:, -1:] - answers[:, :-1]).double()
    cover = hidden.double()
    return spread((lost @ cover) / cover.sum(dim=0).clamp(min=1), question)


def _windows(sides: Sequence[int], window: Sequence[int], stride: Sequence[int]) -> Tensor:
    """Which units each window hides (M, K)."""
    lines: list[Tensor] = []
    for side, width, step in zip(sides, window, stride, strict=True):
        count = 1 + max(0, -(-(side - width) // step))
        starts = torch.arange(count)[:, None] * step
        places = torch.arange(side)
        lines.append((places >= starts) & (places < starts + width))
    if len(lines) == 1:
        return lines[0]
    first, second = lines
    return (first[:, None, :, None] & second[None, :, None, :]).reshape(len(first) * len(second), -1)
