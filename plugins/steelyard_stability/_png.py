# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Figures as files."""

import io

from matplotlib.figure import Figure


def encoded(figure: Figure) -> bytes:
    """A figure as PNG; without the date and version that matplotlib writes, equal runs give equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return buffer.getvalue()
