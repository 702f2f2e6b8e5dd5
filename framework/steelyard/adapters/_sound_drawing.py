# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Drawing sounds with what their windows speak for and against."""

import textwrap
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from steelyard.adapters._drawing import DPI, GREY, SIGNED, caption, png, reach

ACROSS = 2
"""Sounds side by side, so that a telephone shows them at a size that can be read."""
CAPTION = 34
"""Letters in a line of a caption."""
RANGE = 60.0
"""Decibels from the loudest place of a spectrogram to white."""
PICTURE_WINDOWS = 50
"""Windows of the Fourier transform in a second: 20 ms tell the sounds of speech apart."""
EDGE = 1e-9
"""Power that is added before the logarithm: silence is white, not infinite."""


def sounds(
    samples: Tensor, attributions: Tensor, *, titles: Sequence[str], window: int, sample_rate: int | None
) -> bytes:
    """Two panels for each sound, its spectrogram above its attribution by window; a new band after `ACROSS` of them.

    Args:
        samples: (N, T).
        attributions: (N, T).
        titles: N captions.
        window: Samples in a unit of attribution.
        sample_rate: Samples a second; without it the axes count samples and cycles per sample.
    """
    assert len(samples) == len(attributions) == len(titles) > 0
    sums = by_window(attributions, window=window)
    limit = reach(sums)
    across, rate = min(ACROSS, len(samples)), sample_rate or 1
    bands = -(-len(samples) // across)
    figure = Figure(figsize=(2.7 * across, 2.8 * bands), dpi=DPI, layout="constrained")
    heights = [1.0, 0.6] * bands
    grid = figure.subplots(2 * bands, across, squeeze=False, sharex=True, height_ratios=heights)
    for axes in grid.flat[: 2 * bands * across]:
        axes.set_axis_off()
    for index, (sound, row, title) in enumerate(zip(samples, sums, titles, strict=True)):
        band, column = divmod(index, across)
        above, below = grid[2 * band][column], grid[2 * band + 1][column]
        for axes in (above, below):
            axes.set_axis_on()
            axes.tick_params(labelsize=8)
        _spectrogram(above, sound, rate=rate)
        lines = [textwrap.fill(line, width=CAPTION) for line in title.splitlines()]
        caption(above, "\n".join(lines))
        edges = np.minimum(np.arange(len(row) + 1) * window, sound.shape[0]) / rate
        _steps(below, row, edges=edges)
        below.set_ylim(-1.05 * limit, 1.05 * limit)
        below.set_xlim(0, sound.shape[0] / rate)
        below.set_xlabel("s" if sample_rate else "samples", fontsize=8)
        below.tick_params(labelbottom=True)
        if column == 0:
            above.set_ylabel("Hz" if sample_rate else "cycles per sample", fontsize=8)
            below.set_ylabel("against | for", fontsize=8)
    return png(figure)


def by_window(attributions: Tensor, *, window: int) -> Tensor:
    """Sums over consecutive windows: (N, windows), the last of which may be shorter."""
    count = -(-attributions.shape[1] // window)
    spare = count * window - attributions.shape[1]
    return torch.nn.functional.pad(attributions, (0, spare)).reshape(len(attributions), count, window).sum(dim=2)


def decibels(samples: Tensor, *, length: int) -> Tensor:
    """The power of one sound by frequency and time, in decibels below its loudest place: (1 + length // 2, frames).

    Args:
        samples: (T,).
        length: Samples in a window (Hann); each begins a quarter of it after the one before.
    """
    power = torch.stft(
        samples,
        n_fft=length,
        hop_length=max(1, length // 4),
        window=torch.hann_window(length),
        pad_mode="constant",
        return_complex=True,
    )
    levels = 10 * (power.abs().square() + EDGE).log10()
    return (levels - levels.max()).clamp(min=-RANGE)


def _spectrogram(axes: Axes, sound: Tensor, *, rate: int) -> None:
    length = max(2, rate // PICTURE_WINDOWS if rate > 1 else 2 * len(sound) // PICTURE_WINDOWS)
    silent = not bool(sound.any())
    levels = decibels(sound, length=length) - (RANGE if silent else 0.0)
    axes.imshow(
        levels.numpy(),
        cmap="Greys",
        vmin=-RANGE,
        vmax=0,
        origin="lower",
        aspect="auto",
        extent=(0, len(sound) / rate, 0, rate / 2),
    )


def _steps(axes: Axes, row: Tensor, *, edges: np.ndarray) -> None:
    values = row.numpy()
    known = np.isfinite(values)
    if not (known & (values != 0)).any():
        axes.set_facecolor(GREY)
    shown = np.where(known, values, 0.0)
    colours = [SIGNED(0.9 if value > 0 else 0.1) for value in shown]
    axes.bar(edges[:-1], shown, width=np.diff(edges), align="edge", color=colours)
    axes.axhline(0, color="0.3", linewidth=0.8)
