# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Drawing texts, each word on the colour of what it speaks for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from torch import Tensor

from steelyard.adapters._drawing import DPI, GREY, SIGNED, png, reach
from steelyard.adapters._letters import MONO, cells, drawable, families

ACROSS = 64
"""Letters in a line, so that a telephone shows them at a size that can be read."""
SIZE = 9
"""Of the letters, in points."""
HIGH = 1.7 * SIZE / 72
"""Inches from line to line."""
FOOT = 3
"""Lines below the texts, for the scale."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A piece of a text, and the line and column where it begins.

    Attributes:
        number: Which piece of the text it is.
        text: What is drawn.
        line: From 0.
        column: From 0, in letters of one width.
    """

    number: int
    text: str
    line: int
    column: int


def words(pieces: Sequence[Sequence[str]], attributions: Tensor, *, titles: Sequence[str]) -> bytes:
    """The texts one below the other, on one scale for all of them.

    Args:
        pieces: N texts; a piece that begins a word begins with a space, an empty one is not drawn.
        attributions: (N, L), at least as long as the longest text.
        titles: N captions.
    """
    assert len(pieces) == len(attributions) == len(titles) > 0
    limit = reach(attributions)
    laid = [[*placed(text, across=ACROSS)] for text in pieces]
    heads = [headed(title, across=ACROSS) for title in titles]
    lines = [
        len(head) + 1 + max((piece.line + 1 for piece in text), default=1)
        for head, text in zip(heads, laid, strict=True)
    ]
    whole = sum(lines) + FOOT
    figure = Figure(figsize=(_wide() * (ACROSS + 2), HIGH * whole), dpi=DPI)
    axes = figure.add_axes((0, FOOT / whole, 1, 1 - FOOT / whole))
    axes.set_axis_off()
    axes.set_xlim(-1, ACROSS + 1)
    axes.set_ylim(sum(lines), 0)
    top = 0.0
    for text, head, values, height in zip(laid, heads, attributions, lines, strict=True):
        for place, line in enumerate(head):
            _write(axes, line, x=0, y=top + place + 0.5, colour="0.35")
        said = bool((values.isfinite() & (values != 0)).any())
        for piece in text:
            value = float(values[piece.number]) / limit if said and values[piece.number].isfinite() else None
            _mark(axes, piece, value, top=top + len(head))
        top += height
    scale = figure.add_axes((0.3, 2.2 / whole, 0.4, 0.5 / whole))
    bar = figure.colorbar(ScalarMappable(Normalize(-limit, limit), SIGNED), cax=scale, orientation="horizontal")
    bar.set_label("against | for", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    return png(figure)


@cache
def _wide() -> float:
    """Inches from letter to letter, as they are drawn: on a grid of pixels, so a little more than the font says."""
    letters, font = "m" * ACROSS, FontProperties(family=MONO, size=SIZE)
    across = FigureCanvasAgg(Figure(dpi=DPI)).get_renderer().get_text_width_height_descent(letters, font, ismath=False)
    return across[0] / ACROSS / DPI


def headed(title: str, *, across: int) -> list[str]:
    """The lines of a caption: one where all of it fits, else each of its own, shortened where it does not fit."""
    parts = [drawable(part) for part in title.split("\n")]
    whole = " \N{MIDDLE DOT} ".join(parts)
    return [whole] if cells(whole) <= across else [_cut(part, across) for part in parts]


def placed(pieces: Sequence[str], *, across: int) -> Iterator[Placed]:
    """Where each piece stands: a word that does not fit begins a new line, one longer than a line is broken."""
    line = column = 0
    for number, piece in enumerate(pieces):
        text = drawable(piece.replace("\n", "\N{RETURN SYMBOL}"))
        gap = text.startswith(" ") and column > 0
        for part in _parts(text.removeprefix(" "), across):
            if column + gap + cells(part) > across:
                line, column, gap = line + 1, 0, False
            yield Placed(number=number, text=part, line=line, column=column + gap)
            column, gap = column + gap + cells(part), False


def _cut(text: str, across: int) -> str:
    if cells(text) <= across:
        return text
    while cells(text) >= across:
        text = text[:-1]
    return f"{text.rstrip()}\N{HORIZONTAL ELLIPSIS}"


def _parts(text: str, across: int) -> Iterator[str]:
    # A wide letter takes two cells.
    step = across // 2 if cells(text) > len(text) else across
    for start in range(0, len(text), step):
        yield text[start : start + step]


def _mark(axes: Axes, piece: Placed, value: float | None, *, top: float) -> None:
    dark = value is not None and abs(value) > 0.6
    colour = GREY if value is None else SIGNED(0.5 + 0.5 * value)
    place = (piece.column, top + piece.line + 0.06)
    axes.add_patch(Rectangle(place, cells(piece.text), 0.88, facecolor=colour, edgecolor="none"))
    _write(axes, piece.text, x=piece.column, y=top + piece.line + 0.5, colour="white" if dark else "black")


def _write(axes: Axes, text: str, *, x: float, y: float, colour: str) -> None:
    axes.text(x, y, text, fontsize=SIZE, family=families(MONO), color=colour, va="center_baseline", parse_math=False)
