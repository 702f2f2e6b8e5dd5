# pyright: reportUnknownMemberType=false
"""The picture of `interpretability.concepts`: every concept's sensitivity beside what random concepts get."""

from matplotlib.figure import Figure

from steelyard.adapters._drawing import DPI, caption, png
from steelyard.adapters._letters import drawable, families
from steelyard.measurement import Picture
from steelyard_interpretability._concept_numbers import LEVEL, Scored, cell, holm, separates
from steelyard_interpretability._samples import SPLIT

OURS, RANDOM, FAILED = "#2166ac", "0.85", "0.6"
WIDTH = 30
"""Letters of a name."""


def picture(found: Scored, *, least: float) -> Picture:
    """A panel for each decision: a point and an interval for each concept, on a band of random concepts.

    Args:
        found: With at least one concept.
        least: Held-out accuracy below which the layer does not know a concept.
    """
    names, groups = [*found.lines], found.groups
    cells = {(name, at): cell(line, at) for name, line in found.lines.items() for at in range(len(groups))}
    corrected = holm({key: one.p for key, one in cells.items()})
    lost = {name for name, line in found.lines.items() if separates(line, least=least)}
    figure = Figure(figsize=(6.4, 0.5 + len(groups) * (0.7 + 0.32 * len(names))), dpi=DPI, layout="constrained")
    panels = figure.subplots(len(groups), 1, squeeze=False, sharex=True)[:, 0]
    for at, (axes, decision) in enumerate(zip(panels, groups, strict=True)):
        for place, name in enumerate(names):
            one = cells[name, at]
            axes.barh(place, one.band[1] - one.band[0], left=one.band[0], height=0.7, color=RANDOM)
            counts = corrected[name, at] < LEVEL and name not in lost
            axes.plot(one.spread, [place, place], color=OURS if counts else FAILED, linewidth=2)
            axes.plot([one.sensitivity], [place], "o", color=OURS if counts else FAILED)
            words = f"{one.score:.0%}" if counts else f"({one.score:.0%})"
            axes.annotate(words, (one.sensitivity, place), (0, 5), textcoords="offset points", fontsize=7, ha="center")
        labels = [drawable(name if len(name) <= WIDTH else f"{name[: WIDTH - 1]}…") for name in names]
        axes.set_yticks(range(len(names)), labels, fontsize=8, family=families(), parse_math=False)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.axvline(0, color="0.3", linewidth=0.8)
        axes.tick_params(axis="x", labelsize=8)
        caption(axes, f"speaks for {decision}" if decision != "all" else "speaks for the decision")
    panels[-1].set_xlabel("sensitivity; grey band: 95 % of random concepts; with the TCAV score", fontsize=8)
    told = [
        f"{name}, {groups[at]}: score {one.score:.2f}, p {corrected[name, at]:.2g}" for (name, at), one in cells.items()
    ]
    return Picture(
        name="concepts",
        title=f"How sensitive decisions are to concepts in the layer {found.layer}; grey points are not to be trusted",
        png=png(figure),
        alt=f"Each concept beside random ones. {'; '.join(told)}.",
        split=SPLIT,
    )
