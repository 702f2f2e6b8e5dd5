# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Pictures and sounds before and after something happened to them, and the change between."""

import textwrap
from collections.abc import Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from steelyard_stability._png import encoded

LETTERS = 24
"""In a line above a picture."""
WINDOW, FLOOR = 256, -70.0
"""Samples that a spectrogram looks at together, and the decibels below the loudest that are white."""


def contrasted(
    clean: Tensor, damaged: Tensor, *, before: Sequence[str], after: Sequence[str], bounds: tuple[float, float] | None
) -> bytes:
    """A row for each example: clean, damaged, and what became brighter (red) and darker, each on its own scale.

    Args:
        clean: (N, C, H, W), in colour where there are three channels or more.
        damaged: The same shape.
        before: N captions of the clean ones.
        after: N captions of the damaged ones.
        bounds: Black and white; None for the smallest and largest value.
    """
    count = len(clean)
    low, high = bounds or (float(clean.min()), float(clean.max()))
    figure = Figure(figsize=(5.4, 2.15 * count), layout="constrained")
    grid = figure.subplots(count, 3, squeeze=False)
    for row in range(count):
        for axes, image, words in zip(grid[row], (clean[row], damaged[row]), (before[row], after[row]), strict=False):
            _shown(axes, ((image - low) / max(high - low, 1e-12)).clamp(0, 1))
            _caption(axes, words)
        change = (damaged[row] - clean[row]).mean(dim=0)
        most = float(change.abs().max()) or 1.0
        grid[row, 2].imshow(change.numpy(), cmap="RdBu_r", vmin=-most, vmax=most)
        _caption(grid[row, 2], f"change, at most {most:.2g}")
    return encoded(figure)


def overheard(
    clean: Tensor, damaged: Tensor, *, before: Sequence[str], after: Sequence[str], rate: int | None
) -> bytes:
    """A row for each sound: its spectrogram clean and damaged, by one scale, and the change of each sample.

    Args:
        clean: Samples (N, T).
        damaged: The same shape.
        before: N captions of the clean ones.
        after: N captions of the damaged ones.
        rate: Samples a second, or None; then time is counted in samples.
    """
    count, length = clean.shape
    end, height = (length, 0.5) if rate is None else (length / rate, rate / 2)
    figure = Figure(figsize=(7.2, 1.75 * count), layout="constrained")
    grid = figure.subplots(count, 3, squeeze=False, sharex=True)
    for row in range(count):
        loud = torch.stack([_decibels(clean[row]), _decibels(damaged[row])])
        loud = loud - loud.max()
        for axes, values, words in zip(grid[row], loud, (before[row], after[row]), strict=False):
            extent = (0.0, end, 0.0, height)
            axes.imshow(values.numpy(), cmap="Greys", vmin=FLOOR, vmax=0, origin="lower", aspect="auto", extent=extent)
            axes.set_title(textwrap.fill(words, LETTERS), fontsize=8)
        times = torch.linspace(0, end, length)
        grid[row, 2].plot(times.numpy(), (damaged[row] - clean[row]).numpy(), color="#b2182b", linewidth=0.5)
        grid[row, 2].set_title("change of each sample", fontsize=8)
        grid[row, 0].set_ylabel("of the rate" if rate is None else "Hz", fontsize=7)
        for axes in grid[row]:
            axes.tick_params(labelsize=6)
    for axes in grid[-1]:
        axes.set_xlabel("samples" if rate is None else "seconds", fontsize=7)
    return encoded(figure)


def _decibels(samples: Tensor) -> Tensor:
    size = min(WINDOW, len(samples))
    found = torch.stft(samples, size, hop_length=max(1, size // 4), window=torch.hann_window(size), return_complex=True)
    return 20 * found.abs().clamp(min=1e-7).log10()


def _shown(axes: Axes, image: Tensor) -> None:
    if len(image) >= 3:
        axes.imshow(image[:3].permute(1, 2, 0).numpy())
    else:
        axes.imshow(image.mean(dim=0).numpy(), cmap="gray", vmin=0, vmax=1)


def _caption(axes: Axes, words: str) -> None:
    axes.set_axis_off()
    axes.set_title(textwrap.fill(words, LETTERS), fontsize=8)
