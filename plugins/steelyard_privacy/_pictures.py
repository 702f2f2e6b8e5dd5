# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Pictures for the report."""

import io
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

BLUE, GREY = "#2563eb", "#9ca3af"


def epsilon_curve(curve: Sequence[tuple[int, float]], *, delta: float) -> bytes:
    """Epsilon over steps, as PNG."""
    figure, axes = _axes()
    axes.plot([0, *(step for step, _ in curve)], [0.0, *(epsilon for _, epsilon in curve)], color=BLUE, linewidth=2)
    axes.set(xlabel="step", ylabel=f"epsilon at delta {delta:.0e}", xlim=(0, None), ylim=(0, None))
    return _png(figure)


def roc_curve(fpr: Sequence[float], tpr: Sequence[float], *, smallest: float) -> bytes:
    """The attacker's hits over false alarms on logarithmic axes (Carlini et al. 2022), as PNG."""
    figure, axes = _axes()
    axes.plot([smallest, 1], [smallest, 1], color=GREY, linestyle="--", linewidth=1, label="guessing")
    axes.plot(fpr, tpr, color=BLUE, linewidth=2, label="loss threshold")
    axes.set(xscale="log", yscale="log", xlim=(smallest, 1), ylim=(smallest, 1.05))
    axes.set(xlabel="false positive rate", ylabel="true positive rate")
    axes.legend(frameon=False)
    return _png(figure)


def _axes() -> tuple[Figure, Any]:
    figure = Figure(figsize=(4.8, 3.2), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(color="#e5e7eb", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    # Without the date and version that matplotlib writes, equal runs give equal bytes.
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return buffer.getvalue()
