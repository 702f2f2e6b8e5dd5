# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""The picture of which runs agree with which."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from steelyard_stability._png import encoded

WRITTEN = 12
"""Runs up to which every cell has its number."""


def churn_matrix(apart: NDArray[np.float64], labels: Sequence[str]) -> bytes:
    """Each run against each, darker where they differ more, as PNG.

    Args:
        apart: Shares from 0 to 1 (R, R).
        labels: R names.
    """
    count = len(labels)
    side = 1.6 + 0.42 * count
    figure = Figure(figsize=(side + 1.6, side), layout="constrained")
    axes = figure.subplots()
    most = max(float(apart.max()), 1e-9)
    drawn = axes.imshow(np.where(np.eye(count, dtype=bool), np.nan, apart), cmap="Blues", vmin=0, vmax=most)
    for row in range(count if count <= WRITTEN else 0):
        for column in range(count):
            if row != column:
                dark = apart[row, column] > 0.6 * most
                words = f"{apart[row, column]:.1%}"
                axes.text(column, row, words, ha="center", va="center", fontsize=7, color="white" if dark else "black")
    axes.set_xticks(np.arange(count), labels, rotation=90, fontsize=7)
    axes.set_yticks(np.arange(count), labels, fontsize=7)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    figure.colorbar(drawn, ax=axes, label="share of different answers", shrink=0.8)
    return encoded(figure)
