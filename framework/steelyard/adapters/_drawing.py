# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Drawing attributions with matplotlib's object interface: no pyplot, no global state."""

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from steelyard.adapters._letters import drawable, families

GREY = "0.75"
SIGNED: Colormap = colormaps["RdBu_r"].with_extremes(bad=GREY)
"""Red speaks for, blue against; the two are told apart by colour-blind readers too."""
DPI = 100
SHOWN = 10
"""Columns of a table that are drawn."""
ACROSS = 3
"""Images side by side, so that a telephone shows them and their captions at a size that can be read."""
COMPARED = 5
"""Attributions next to an image."""
PRINT = 0.15
"""How much darker black is than white where an image shines through its map."""
TITLE = 23
"""Letters in a line above an image."""
PAPER, INK, FOUND = "white", "0.2", "#ffb000"
"""What is there is outlined in white or grey, what was found in amber."""
PANELS_ACROSS = 2
"""Bar panels side by side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A box to draw on an image.

    Attributes:
        box: Centre, width and height in parts of the image.
        true: Dashed for what is there, a full line for what was found.
    """

    box: tuple[float, float, float, float]
    true: bool


def images(
    inputs: Tensor,
    attributions: Tensor,
    *,
    titles: Sequence[str],
    bounds: tuple[float, float] | None,
    across: int = ACROSS,
    frames: Sequence[Sequence[Frame]] = (),
) -> bytes:
    """A column per image, the image above its attribution, which lies over a faint print of it; the scale on top.

    A new band begins after `across` images, or one fewer where a single one would be left over.

    Args:
        inputs: (N, channels, height, width).
        attributions: (N, height, width).
        titles: N captions.
        bounds: Black and white; None for the smallest and largest value.
        across: Images side by side.
        frames: Of each image, to be drawn on it and on its attribution; empty for none at all.
    """
    assert len(inputs) == len(attributions) == len(titles) > 0
    low, high = bounds or (float(inputs.min()), float(inputs.max()))
    limit = reach(attributions)
    columns = min(across, len(inputs))
    columns -= columns > 2 and len(inputs) % columns == 1 and len(inputs) % (columns - 1) == 0
    bands = -(-len(inputs) // columns)
    figure = Figure(figsize=(1.7 * columns, 4.0 * bands + 0.6), dpi=DPI, layout="constrained")
    places = figure.add_gridspec(2 * bands + 1, columns, height_ratios=[0.08, *[1] * (2 * bands)])
    _scale(figure.add_subplot(places[0, :]), limit, words=columns > 1)
    for index, (image, attribution, title) in enumerate(zip(inputs, attributions, titles, strict=True)):
        band, column = divmod(index, columns)
        shown = ((image - low) / max(high - low, 1e-12)).clamp(0, 1)
        above, below = (figure.add_subplot(places[2 * band + row, column]) for row in (1, 2))
        _image(above, shown)
        caption(above, _wrapped(title))
        _map(below, attribution, limit, over=shown)
        for frame in frames[index] if frames else ():
            above.add_patch(_outline(frame, image, PAPER))
            below.add_patch(_outline(frame, image, INK))
    if frames:
        figure.supxlabel("dashed: what is there; amber: what was found", fontsize=9)
    return png(figure)


def maps(
    inputs: Tensor,
    attributions: Sequence[Tensor],
    *,
    names: Sequence[str],
    titles: Sequence[str],
    bounds: tuple[float, float] | None,
) -> bytes:
    """A row per image: the image, then its attributions by name; the scale of them all on top.

    A row goes on below, with the image again, after `COMPARED` attributions.

    Args:
        inputs: (N, channels, height, width).
        attributions: Each (N, height, width).
        names: One for each of them.
        titles: N captions.
        bounds: Black and white; None for the smallest and largest value.
    """
    assert len(inputs) == len(titles) > 0
    assert len(attributions) == len(names) > 0
    low, high = bounds or (float(inputs.min()), float(inputs.max()))
    limit = max(map(reach, attributions))
    across = -(-len(names) // -(-len(names) // COMPARED))
    blocks = [range(start, min(start + across, len(names))) for start in range(0, len(names), across)]
    columns = 1 + across
    figure = Figure(figsize=(1.7 * columns, 2.2 * len(inputs) * len(blocks) + 0.6), dpi=DPI, layout="constrained")
    places = figure.add_gridspec(
        len(inputs) * len(blocks) + 1, columns, height_ratios=[0.08, *[1] * len(inputs) * len(blocks)]
    )
    _scale(figure.add_subplot(places[0, :]), limit, words=True)
    for line, (block, index) in enumerate((block, index) for index in range(len(inputs)) for block in blocks):
        tile = figure.add_subplot(places[line + 1, 0])
        shown = ((inputs[index] - low) / max(high - low, 1e-12)).clamp(0, 1)
        _image(tile, shown)
        caption(tile, _wrapped(titles[index]))
        for column, number in enumerate(block, start=1):
            axes = figure.add_subplot(places[line + 1, column])
            axes.set_axis_off()
            _map(axes, attributions[number][index], limit, over=shown)
            caption(axes, _wrapped(names[number]))
    return png(figure)


def bars(inputs: Tensor, attributions: Tensor, *, titles: Sequence[str], columns: Sequence[str]) -> bytes:
    """A panel per row of a table: its most important columns as signed bars, on one scale for all panels.

    Args:
        inputs: (N, columns).
        attributions: (N, columns).
        titles: N captions.
        columns: Their names.
    """
    assert len(inputs) == len(attributions) == len(titles) > 0
    limit = reach(attributions)
    across = min(PANELS_ACROSS, len(inputs))
    bands = -(-len(inputs) // across)
    # A panel of one or two columns is no lower: its title needs the room.
    height = bands * (0.6 + 0.28 * max(3, min(SHOWN, len(columns))))
    figure = Figure(figsize=(3.6 * across, height), dpi=DPI, layout="constrained")
    grid = figure.subplots(bands, across, squeeze=False)
    for axes in grid.flat[len(inputs) :]:
        axes.set_axis_off()
    for axes, row, attribution, title in zip(grid.flat, inputs, attributions, titles, strict=False):
        _panel(axes, row, attribution, columns=columns)
        caption(axes, title)
        axes.set_xlim(-1.05 * limit, 1.05 * limit)
    return png(figure)


def reach(attributions: Tensor) -> float:
    """The largest finite absolute value, so that zero sits in the middle of the scale; 1 where all is zero."""
    finite = attributions[attributions.isfinite()].abs()
    return (float(finite.max()) if finite.numel() else 0.0) or 1.0


def _image(axes: Axes, shown: Tensor) -> None:
    """In colour where there are three channels, else in grey."""
    axes.set_axis_off()
    if len(shown) == 3:
        axes.imshow(shown.permute(1, 2, 0).numpy())
    else:
        axes.imshow(shown.mean(dim=0).numpy(), cmap="gray", vmin=0, vmax=1)


def _map(axes: Axes, attribution: Tensor, limit: float, *, over: Tensor) -> None:
    """The colours of the scale, a little darker where the image is; grey where there is nothing."""
    axes.set_axis_off()
    known = attribution.isfinite() & bool((attribution != 0).any())
    tile = attribution.where(known, attribution.new_tensor(float("nan")))
    colours = SIGNED(Normalize(-limit, limit)(tile.numpy()))
    light = 1 - PRINT * (1 - over.mean(dim=0)) * known
    colours[..., :3] *= light[..., None].numpy()
    axes.imshow(colours)


def _outline(frame: Frame, image: Tensor, colour: str) -> Rectangle:
    """In pixels, whose centres matplotlib has at whole numbers."""
    height, width = image.shape[1:]
    x, y, across, up = frame.box
    return Rectangle(
        ((x - across / 2) * width - 0.5, (y - up / 2) * height - 0.5),
        across * width,
        up * height,
        fill=False,
        linewidth=1.2,
        linestyle=(0, (2, 2)) if frame.true else "solid",
        edgecolor=colour if frame.true else FOUND,
    )


def _wrapped(title: str) -> str:
    """Lines that do not run into the next column."""
    return "\n".join(line for part in title.split("\n") for line in textwrap.wrap(part, TITLE) or [part])


def _scale(axes: Axes, limit: float, *, words: bool) -> None:
    """A strip that says what the colours mean; above a single image there is room for the numbers alone."""
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    colours = ScalarMappable(Normalize(-limit, limit), SIGNED)
    bar = figure.colorbar(colours, cax=axes, orientation="horizontal", ticks=[-limit, 0, limit])
    against, towards = (" against", "for ") if words else ("", "")
    bar.ax.set_xticklabels([f"{-limit:.2g}{against}", "0", f"{towards}{limit:.2g}"], fontsize=9)
    for label, side in zip(bar.ax.get_xticklabels(), ("left", "center", "right"), strict=True):
        label.set_horizontalalignment(side)


def _panel(axes: Axes, row: Tensor, attribution: Tensor, *, columns: Sequence[str]) -> None:
    known = attribution.isfinite()
    if not bool(known.any()) or bool((attribution[known] == 0).all()):
        axes.set_facecolor(GREY)
    order: Any = attribution.abs().nan_to_num(nan=-1.0, posinf=-1.0).argsort(descending=True, stable=True)
    chosen = order[:SHOWN].tolist()
    values = [float(attribution[column]) if bool(known[column]) else 0.0 for column in chosen]
    axes.barh(range(len(chosen)), values, color=[SIGNED(0.9 if value > 0 else 0.1) for value in values])
    labels = [f"{columns[column]} = {float(row[column]):.3g}" for column in chosen]
    axes.set_yticks(range(len(chosen)), [*map(drawable, labels)], fontsize=8, family=families(), parse_math=False)
    axes.axvline(0, color="0.3", linewidth=0.8)
    axes.invert_yaxis()
    axes.tick_params(axis="x", labelsize=8)


def caption(axes: Axes, title: str) -> None:
    """Writes a title above a panel, whatever letters it has."""
    axes.set_title(drawable(title), fontsize=9, family=families(), parse_math=False)


def png(figure: Figure) -> bytes:
    """The encoded picture: the same one is the same bytes."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
    return buffer.getvalue()
