# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""The columns of a table over all explained examples: how much each counts, which way, and at which values."""

from collections.abc import Sequence

import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

from steelyard.adapters import TableAdapter
from steelyard.adapters._drawing import DPI, caption, png, reach
from steelyard.adapters._letters import drawable, families
from steelyard.measurement import Picture
from steelyard.runs import Run
from steelyard_interpretability._captions import spoken
from steelyard_interpretability._explain import Study
from steelyard_interpretability._samples import SPLIT

COLUMNS = 12
"""That count most."""
METHODS = 3
"""Panels."""
VALUES = colormaps["viridis"]


def overview(run: Run, found: Study) -> Picture:
    """A line for each column, a dot for each example, to the right what spoke for the decision, coloured by the value.

    The columns stand in the order of their mean absolute worth by the first method.
    """
    names = [*found.judged][:METHODS]
    units = {name: found.judged[name].units.double() for name in names}
    mean = units[names[0]].abs().nan_to_num().mean(dim=0)
    order = [*map(int, mean.argsort(descending=True, stable=True)[:COLUMNS])]
    places = places_of(found.samples.inputs[: len(found.common.decisions)].cpu().double())
    called = _called(run, found)
    height = 0.9 + 0.28 * max(3, len(order))
    figure = Figure(figsize=(7.0, len(names) * height + 0.7), dpi=DPI, layout="constrained")
    axes = figure.subplots(len(names) + 1, 1, squeeze=False, height_ratios=[0.15, *[height] * len(names)])[:, 0]
    bar = figure.colorbar(ScalarMappable(Normalize(0, 1), VALUES), cax=axes[0], orientation="horizontal", ticks=[0, 1])
    bar.ax.set_xticklabels(["smallest value of the column", "largest"], fontsize=8)
    for label, side in zip(bar.ax.get_xticklabels(), ("left", "right"), strict=True):
        label.set_horizontalalignment(side)
    for panel, name in zip(axes[1:], names, strict=True):
        _dots(panel, units[name][:, order], places[:, order], columns=[called[column] for column in order])
        caption(panel, spoken(name))
        panel.set_xlabel("against | for the decision", fontsize=8)
    first = ", ".join(f"{called[column]} ({float(mean[column]):.3g})" for column in order[:3])
    return Picture(
        name="columns",
        title=f"Which columns count over all {len(units[names[0]])} explained examples, a dot for each",
        png=png(figure),
        alt=f"Columns by their mean absolute worth, by {spoken(names[0])}: {first}.",
        split=SPLIT,
    )


def places_of(values: Tensor) -> Tensor:
    """Each value's place between the smallest and largest of its column, 0 to 1; the middle where all are the same."""
    low, high = values.amin(dim=0), values.amax(dim=0)
    return torch.where(high > low, (values - low) / (high - low).clamp(min=1e-300), torch.full_like(values, 0.5))


def _called(run: Run, found: Study) -> Sequence[str]:
    width = found.samples.inputs.shape[1]
    adapter = run.adapter
    known = adapter.columns if isinstance(adapter, TableAdapter) else ()
    return known if len(known) == width else [f"column {number}" for number in range(width)]


def _dots(axes: Axes, worth: Tensor, places: Tensor, *, columns: Sequence[str]) -> None:
    count = len(worth)
    # Examples lie beside each other in their own order: the same picture every time.
    beside = (torch.arange(count, dtype=torch.double) * 0.618034 % 1 - 0.5) * 0.6
    for line in range(len(columns)):
        axes.scatter(
            worth[:, line].nan_to_num().numpy(),
            (line + beside).numpy(),
            c=places[:, line].nan_to_num(0.5).numpy(),
            cmap=VALUES,
            vmin=0,
            vmax=1,
            s=9,
            linewidths=0,
        )
    limit = 1.05 * reach(worth)
    axes.set_xlim(-limit, limit)
    axes.set_yticks(range(len(columns)), [*map(drawable, columns)], fontsize=8, family=families(), parse_math=False)
    axes.set_ylim(len(columns) - 0.5, -0.5)
    axes.axvline(0, color="0.3", linewidth=0.8)
    axes.tick_params(axis="x", labelsize=8)
