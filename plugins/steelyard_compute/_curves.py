# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""The picture of a training: step time and memory."""

import io
from collections.abc import Sequence
from statistics import median

from matplotlib.figure import Figure

BLUE, GREY = "#2563eb", "#9ca3af"
WINDOW = 25


def training_curves(seconds: Sequence[float], memory: Sequence[tuple[int, float]], *, of: str = "cpu") -> bytes:
    """Step times with their running median, above the memory of the process or of the GPU, as PNG.

    Args:
        seconds: Of each step.
        memory: Step and MiB; may be empty.
        of: The device that this memory is of.
    """
    figure = Figure(figsize=(5.6, 3.6 if memory else 2.2), layout="constrained")
    above, *below = figure.subplots(2 if memory else 1, 1, sharex=True, squeeze=False)[:, 0]
    steps = range(1, len(seconds) + 1)
    milliseconds = [1000 * second for second in seconds]
    above.plot(steps, milliseconds, ".", color=GREY, markersize=2)
    smooth = [median(milliseconds[max(0, at - WINDOW) : at + WINDOW + 1]) for at in range(len(seconds))]
    above.plot(steps, smooth, color=BLUE, linewidth=1.5)
    # A pause of the machine must not flatten everything else.
    above.set(ylabel="step [ms]", ylim=(0, 1.1 * sorted(milliseconds)[int(0.98 * (len(seconds) - 1))]))
    for axes in below:
        axes.plot(*zip(*memory, strict=True), color=BLUE, linewidth=1.5)
        axes.set(ylabel=f"{'process' if of == 'cpu' else of} [MiB]", ylim=(0, None))
    for axes in (above, *below):
        axes.grid(color="#e5e7eb", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    [above, *below][-1].set_xlabel("step")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()
