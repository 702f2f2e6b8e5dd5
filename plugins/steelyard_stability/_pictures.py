# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Pictures for the report."""

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
    lines = {"color": BLUE, "marker": "o", "markersize": 4, "linewidth": 1.5, "label": "this model"}
    above.plot(bins.confidence[full], bins.frequency[full], **lines)
    above.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="as right as sure")
    above.legend(loc="upper left", framealpha=0.8, edgecolor="none", fontsize=8)
    above.set(ylabel="share that is right", xlim=(0, 1), ylim=(0, 1.02))
    below.bar(edges, bins.counts / bins.counts.sum(), width=1 / count, align="edge", color=GREY)
    below.set(xlabel="probability that the model gives to its decision", ylabel="share of\nexamples")
    for axes in (above, below):
        axes.grid(color="#e5e7eb", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    return encoded(figure)
