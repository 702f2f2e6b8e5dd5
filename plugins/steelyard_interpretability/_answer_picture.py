# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""The picture of an answer: its tokens from top to bottom, what they rest on from left to right."""

from collections.abc import Sequence
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

from steelyard.adapters._drawing import DPI, SIGNED, caption, png, reach
from steelyard.adapters._letters import MONO, drawable, families
from steelyard.adapters.adapter import Adapter
from steelyard.adapters.parts import Naming
from steelyard.measurement import Picture
from steelyard.runs import Run
from steelyard_interpretability._answers import Answer
from steelyard_interpretability._captions import short
from steelyard_interpretability._explain import Shown
from steelyard_interpretability._samples import SPLIT

ACROSS = 32
"""Parts of an input that are drawn."""
LETTERS = 14
"""Of a token or a part."""
CELL = 0.2
"""Inches."""


def answer_picture(run: Run, shown: Shown, answers: Sequence[Answer]) -> Picture:
    """A matrix for each answer, all on one signed scale; of long inputs the parts that count most, in their order."""
    adapter = run.adapter
    parts = _called(adapter, shown)
    kept = [_most(answer) for answer in answers]
    limit = max(reach(answer.worth) for answer in answers)
    heights = [len(answer.places) * CELL + 1.4 for answer in answers]
    widest = max(map(len, kept))
    figure = Figure(figsize=(max(3.6, CELL * widest + 1.8), sum(heights) + 0.7), dpi=DPI, layout="constrained")
    grid = figure.subplots(len(answers) + 1, 1, squeeze=False, height_ratios=[0.12, *heights])[:, 0]
    bar = figure.colorbar(ScalarMappable(Normalize(-limit, limit), SIGNED), cax=grid[0], orientation="horizontal")
    bar.set_label("against | for the token, in units of its logit", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    for axes, answer, columns in zip(grid[1:], answers, kept, strict=True):
        tokens = _tokens(adapter, shown.decisions[answer.row], answer.places)
        _matrix(
            axes,
            answer.worth[:, columns],
            rows=tokens,
            columns=[parts[answer.row][unit] for unit in columns],
            limit=limit,
        )
        every = int(answer.present.sum())
        some = f", {len(columns)} of {every} parts" if len(columns) < every else ""
        caption(axes, f"example {shown.samples.numbers[answer.row]}{some}{_adds_up(answer)}")
    method = answers[0].method.replace("_", " ")
    return Picture(
        name="answers",
        title=f"What spoke for each token of the answer, by {method}: output x input",
        png=png(figure),
        alt=f"A matrix for each of {len(answers)} answers, a row for each token, a column for each part of the input. "
        + " ".join(_in_words(adapter, shown, answer, called=parts[answer.row]) for answer in answers),
        split=SPLIT,
    )


def _called(adapter: Adapter, shown: Shown) -> Sequence[Sequence[str]]:
    if isinstance(adapter, Naming):
        return adapter.called(shown.samples.batch)
    count = int(shown.units.max()) + 1
    return [[f"part {unit}" for unit in range(count)]] * len(shown.kinds)


def _most(answer: Answer) -> list[int]:
    """The units of a matrix: those that an example has, or those of them that count most, in their order."""
    weight = answer.worth.abs().nan_to_num().sum(dim=0).masked_fill(~answer.present, -1)
    count = min(ACROSS, int(answer.present.sum()))
    return sorted(weight.argsort(descending=True, stable=True)[:count].tolist())


def _tokens(adapter: Adapter, decision: Tensor, places: Tensor) -> list[str]:
    return [adapter.told([int(decision[place])]).strip() or f"[{int(decision[place])}]" for place in places]


def _matrix(axes: Axes, worth: Tensor, *, rows: Sequence[str], columns: Sequence[str], limit: float) -> None:
    axes.imshow(worth.numpy(), cmap=SIGNED, vmin=-limit, vmax=limit, aspect="equal", interpolation="none")
    looks: dict[str, Any] = {"fontsize": 8, "family": families(MONO), "parse_math": False}
    axes.set_yticks(range(len(rows)), [_word(row) for row in rows], **looks)
    axes.set_xticks(range(len(columns)), [_word(column) for column in columns], rotation=90, **looks)
    axes.set_ylabel("output", fontsize=8)
    axes.set_xlabel("input", fontsize=8)


def _word(text: str) -> str:
    word = drawable(text.strip().replace("\n", "\N{RETURN SYMBOL}"))
    return word if len(word) <= LETTERS else f"{word[: LETTERS - 1]}\N{HORIZONTAL ELLIPSIS}"


def _adds_up(answer: Answer) -> str:
    if answer.complete is None:
        return ""
    right, every = int(answer.complete.sum()), len(answer.complete)
    return ", all rows add up" if right == every else f", {right} of {every} rows add up"


def _in_words(adapter: Adapter, shown: Shown, answer: Answer, *, called: Sequence[str]) -> str:
    tokens = _tokens(adapter, shown.decisions[answer.row], answer.places)
    first = [*map(int, answer.worth.masked_fill(~answer.present, -torch.inf).argmax(dim=1))]
    pairs = ", ".join(
        f"{short(token)} rests most on {short(called[unit].strip())}" for token, unit in zip(tokens, first, strict=True)
    )
    return f"Example {shown.samples.numbers[answer.row]}: {pairs}."
