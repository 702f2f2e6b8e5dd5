# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Pictures for the report."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from steelyard_stability._png import encoded
from steelyard_stability._reliability import Bins

BLUE, GREY = "#2563eb", "#9ca3af"


def reliability_diagram(bins: Bins) -> bytes:
    """Frequency over confidence, with the share of the examples in each bin below, as PNG."""
    figure = Figure(figsize=(4.8, 4.2), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    count = len(bins.counts)
    edges = np.arange(count) / count
    full = bins.counts > 0
    above.bar(edges[full], bins.frequency[full], width=1 / count, align="edge", color=BLUE, alpha=0.35)
    above.plot(bins.confidence[full], bins.frequency[full], color=BLUE, marker="o", markersize=4, linewidth=1.5)
    above.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1)
    above.set(ylabel="share that is right", xlim=(0, 1), ylim=(0, 1.02))
    below.bar(edges, bins.counts / bins.counts.sum(), width=1 / count, align="edge", color=GREY)
    below.set(xlabel="probability that the model gives to its decision", ylabel="examples")
    for axes in (above, below):
        axes.grid(color="#e5e7eb", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    return encoded(figure)


def shares_by_severity(shares: Mapping[str, Sequence[float]], severities: Sequence[int], *, label: str) -> bytes:
    """The mean over kinds as a curve over severities, above one row of numbers for each kind, as PNG.

    Args:
        shares: Kind -> a share from 0 to 1 for each severity, NaN where there is none.
        severities: In order.
        label: What the shares are of.
    """
    kinds, table = [*shares], np.array([*shares.values()], dtype=np.float64)
    figure = Figure(figsize=(5.4, 2.0 + 0.3 * len(kinds)), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=[1.4, max(1.0, 0.3 * len(kinds))])
    places = np.arange(len(severities))
    above.fill_between(places, np.nanmin(table, axis=0), np.nanmax(table, axis=0), color=BLUE, alpha=0.15, linewidth=0)
    above.plot(places, np.nanmean(table, axis=0), color=BLUE, marker="o", markersize=4, linewidth=1.5)
    above.set(ylabel=label, ylim=(0, 1.02), xlim=(-0.5, len(severities) - 0.5), xticks=[])
    above.set_title("mean, and from the worst to the best kind", fontsize=8, color="#4b5563")
    above.grid(color="#e5e7eb", linewidth=0.6)
    above.spines[["top", "right"]].set_visible(False)
    below.imshow(table, cmap="RdYlBu", vmin=0, vmax=1, aspect="auto", alpha=0.55)
    for row, values in enumerate(table):
        for column, value in enumerate(values):
            words = "" if np.isnan(value) else f"{value:.0%}"
            below.text(column, row, words, ha="center", va="center", fontsize=7.5, color="#111827")
    below.set_xticks(places, [str(severity) for severity in severities])
    below.set_yticks(np.arange(len(kinds)), [kind.replace("_", " ") for kind in kinds], fontsize=8)
    below.set_xlabel("severity")
    below.tick_params(length=0)
    below.spines[:].set_visible(False)
    return encoded(figure)
