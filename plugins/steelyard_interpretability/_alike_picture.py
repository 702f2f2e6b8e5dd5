# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""The picture of `interpretability.attribution` over several runs: the same examples, side by side, on one scale.

Comparing does not wait for torch, so this draws with NumPy and matplotlib alone.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steelyard.measurement import Picture
from steelyard_interpretability._kept_units import Parts

EXAMPLES, COLUMNS = 4, 12
"""Examples and maps of each that are drawn at most."""
LETTERS = 22
SPLIT = "val"


def picture(runs: Mapping[str, Parts]) -> Picture | None:
    """A row for each example, a column for each run and method, every map in shares of all that it gives.

    Red speaks for the decision, blue against it; where a run decides otherwise, its title says so.

    Args:
        runs: Label -> explanations of the same examples.
    """
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = [(label, name, parts) for label, parts in runs.items() for name in parts.worth][:COLUMNS]
    first = next(iter(runs.values()))
    chosen = _spread(len(first.examples))
    if len(columns) < 2 or not chosen:
        return None
    maps = [[_shares(parts.worth[name][row]) for _, name, parts in columns] for row in chosen]
    limit = max(float(np.nanmax(np.abs(one), initial=0.0)) for line in maps for one in line) or 1.0
    figure = Figure(figsize=(1.7 * len(columns), 1.9 * len(chosen) + 0.6), dpi=100, layout="constrained")
    grid = figure.subplots(len(chosen), len(columns), squeeze=False)
    colours = colormaps["RdBu_r"].with_extremes(bad="0.75")
    shown: Any = None
    for line, row in enumerate(chosen):
        for column, (label, name, parts) in enumerate(columns):
            axes = grid[line, column]
            axes.set_axis_off()
            tile = _laid(maps[line][column], parts.layout)
            shown = axes.imshow(
                tile, cmap=colours, vmin=-limit, vmax=limit, aspect="auto" if len(tile) == 1 else "equal"
            )
            words = [f"example {first.examples[row]}, says {parts.decisions[row]}"]
            words = [*map(_plain, label.rsplit(", ", 1)), name.replace("_", " "), *words] if not line else words
            axes.set_title("\n".join(words), fontsize=7, parse_math=False)
    bar = figure.colorbar(shown, ax=grid, orientation="horizontal", shrink=0.5, aspect=40, ticks=[-limit, 0, limit])
    bar.ax.set_xticklabels([f"{-limit:.2g} against", "0", f"for {limit:.2g}"], fontsize=8)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
    every = sum(len(parts.worth) for parts in runs.values())
    left = f"; the first {len(columns)} of {every} maps" if every > len(columns) else ""
    return Picture(
        name="side_by_side",
        title=f"The same {len(chosen)} examples explained by {len(runs)} runs, each map in shares, on one scale{left}",
        png=buffer.getvalue(),
        alt="One row an example; the columns: " + "; ".join(f"{label}, {name}" for label, name, _ in columns) + ".",
        split=SPLIT,
    )


def _spread(count: int) -> Sequence[int]:
    return [*dict.fromkeys(place * count // EXAMPLES for place in range(min(EXAMPLES, count)))]


def _shares(values: NDArray[np.float64]) -> NDArray[np.float64]:
    total = float(np.nansum(np.abs(values)))
    return values / total if total else np.full_like(values, np.nan)


def _laid(values: NDArray[np.float64], layout: tuple[int, int] | None) -> NDArray[np.float64]:
    """As the grid that the parts form; a sequence is one line."""
    if layout is None or layout[0] * layout[1] < len(values):
        return values[None]
    spare = layout[0] * layout[1] - len(values)
    return np.pad(values, (0, spare), constant_values=np.nan).reshape(layout)


def _plain(text: str) -> str:
    """Letters that every font has."""
    short = text if len(text) <= LETTERS else f"{text[: LETTERS - 1]}~"
    return short.encode("ascii", "replace").decode()
