"""The picture of `interpretability.attribution` at a layer: which of its units spoke for the decision."""

import torch

from steelyard.adapters import _drawing
from steelyard.measurement import Picture
from steelyard.runs import Run
from steelyard_interpretability._deletion import importance
from steelyard_interpretability._explain import Shown
from steelyard_interpretability._samples import SPLIT
from steelyard_interpretability._side_by_side import in_words, shares, title
from steelyard_interpretability.attribution import Attribution


def layer_picture(run: Run, plugin: Attribution, shown: Shown) -> Picture:
    """Bars of the units that count most, a panel for each example and method, with what the layer gives there."""
    methods, count = [*shown.maps], len(shown.kinds)
    several = len(plugin.methods) > 1
    sizes = torch.bincount(shown.units.flatten()).clamp(min=1)
    means = importance(shown.inputs.double(), units=shown.units) / sizes
    worth = {
        name: importance(shares(part.attributions) if several else part.attributions.double(), units=shown.units)
        for name, part in shown.maps.items()
    }
    places = [(row, name) for row in range(count) for name in methods]
    titles = [title(run.adapter, shown, row).replace("\n", ", ") for row in range(count)]
    png = _drawing.bars(
        torch.stack([means[row] for row, _ in places]),
        torch.stack([worth[name][row] for row, name in places]),
        titles=[f"{name.replace('_', ' ')}: {titles[row]}" if several else titles[row] for row, name in places],
        columns=[f"unit {number}" for number in range(means.shape[1])],
    )
    how = ", in shares of all that a method gives to the example" if several else ""
    return Picture(
        name="attributions",
        title=f"Units of {plugin.layer} that spoke for the decision: {count} validation examples{how}",
        png=png,
        alt=f"Bars of the units that count most by {', '.join(methods)}. "
        + " ".join(in_words(run.adapter, shown, row) for row in range(count)),
        split=SPLIT,
    )
