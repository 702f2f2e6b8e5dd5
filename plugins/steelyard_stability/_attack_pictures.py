# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""What is shown of an attack: how much stands at which radius, and the examples that fell first."""

from collections.abc import Iterator, Sequence

import torch
from matplotlib.figure import Figure

from steelyard.measurement import Artefact, Measurement, Picture
from steelyard.runs import Run
from steelyard_stability._assault import Worst
from steelyard_stability._pictures import BLUE, GREY
from steelyard_stability._png import encoded
from steelyard_stability._staging import SPLIT
from steelyard_stability.corruptions._audio import UNKNOWN_RATE
from steelyard_stability.corruptions._pairs import Pair, heard, moved, pictured

CURVES = {"flips": ("answers that change", BLUE), "robust_accuracy": ("accuracy that is left", GREY)}


def radius_curve(rows: Sequence[Measurement], *, unit: str, doubt: str) -> Picture:
    """Flips and robust accuracy over the radius, each in its interval.

    Args:
        rows: All measurements of the attack.
        unit: Of the radius.
        doubt: Why nothing of it is to be believed, or "".
    """
    figure = Figure(figsize=(5.2, 3.4), layout="constrained")
    axes = figure.subplots()
    said: list[str] = []
    for name, (label, colour) in CURVES.items():
        points = sorted(
            (float(row.at["radius"]), row.value, row.interval or (row.value, row.value))
            for row in rows
            if row.name == name and "radius" in row.at and row.value is not None
        )
        if not points:
            continue
        radii, values = [radius for radius, _, _ in points], [value for _, value, _ in points]
        axes.fill_between(
            radii, [ends[0] for _, _, ends in points], [ends[1] for _, _, ends in points], color=colour, alpha=0.18
        )
        axes.plot(radii, values, color=colour, marker="o", markersize=4, linewidth=1.5, label=label)
        said.append(f"{label} from {values[0]:.0%} at radius {radii[0]:g} to {values[-1]:.0%} at {radii[-1]:g}")
    axes.set(xlabel=f"radius ({unit})", ylabel="share of the test examples", ylim=(0, 1.02))
    axes.set_title(f"not to be believed: {doubt[:60]}" if doubt else "the model at its best", fontsize=8)
    axes.legend(fontsize=8, frameon=False)
    axes.grid(color="#e5e7eb", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    return Picture(
        name="radii",
        title="How much changes, and what is left, when an attacker may go how far",
        png=encoded(figure),
        alt=f"{'; '.join(said)}.",
        split=SPLIT,
    )


@torch.no_grad()
def worst_examples(run: Run, worst: Sequence[Worst], *, norm: str) -> Iterator[Artefact]:
    """Each example clean, then with the smallest change that was enough; sounds are heard, too."""
    pairs = [pair for one in worst if (pair := _pair(run, one, norm)) is not None]
    if not pairs:
        return
    table = moved(run, pairs, split=SPLIT)
    yield pictured(run, pairs, split=SPLIT) if table is None else table
    if run.adapter.modality == "audio":
        rate: int | None = getattr(run.adapter, "sample_rate", None)
        yield from heard(run, pairs, split=SPLIT, rate=rate or UNKNOWN_RATE)


def _pair(run: Run, one: Worst, norm: str) -> Pair | None:
    adapter, scoring = run.adapter, run.adapter.scoring
    clean = run.batch(SPLIT, [one.number])
    if adapter.inputs(run.task, clean).shape[1:] != one.inputs.shape:
        # Alone it is not padded as it was among others, so that the change lies elsewhere.
        return None
    damaged, targets = adapter.replace(clean, one.inputs[None]), adapter.targets(clean)
    before, after = (
        adapter.told(scoring.said(scoring.decisions(adapter.outputs(run.task, batch), targets)[0]))
        for batch in (clean, damaged)
    )
    return Pair(
        number=one.number,
        kind=norm,
        severity=0,
        clean=clean,
        damaged=damaged,
        before=before,
        after=after,
        wanted=adapter.told(scoring.wanted(targets[0])),
        told=f"{norm} {one.radius:g}",
    )
