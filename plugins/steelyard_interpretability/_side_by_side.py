"""The picture of `interpretability.attribution`: the same examples by every method, on one scale."""

from torch import Tensor

from steelyard.adapters import Adapter
from steelyard.adapters.side_by_side import side_by_side
from steelyard.measurement import Picture
from steelyard.runs import Run
from steelyard_interpretability._captions import short, spoken, unit
from steelyard_interpretability._explain import Shown
from steelyard_interpretability._samples import SPLIT
from steelyard_interpretability.attribution import Attribution

KINDS = {"best": "smallest loss", "worst": "largest loss", "uncertain": "least certain", "random": "by chance"}


def picture(run: Run, plugin: Attribution, shown: Shown) -> Picture:
    """Raw attributions of a single method; of several each one's as shares of all that it gives to the example."""
    count, methods = len(shown.kinds), [*shown.maps]
    names = [spoken(name) for name in methods]
    several = len(plugin.methods) > 1
    values = [shown.maps[name].attributions for name in methods]
    png = side_by_side(
        run.adapter,
        shown.samples.batch,
        [shares(map_) for map_ in values] if several else values,
        names=names if several else [],
        titles=[title(run.adapter, shown, row) for row in range(count)],
        decisions=shown.decisions,
    )
    of, how = "the decision", ""
    if plugin.layer is not None:
        of = f"neuron {', '.join(map(str, plugin.neuron))} of {plugin.layer}"
    elif not several:
        how = f", {unit(run.adapter, methods[0])}"
    if several:
        how = "; each map in shares of all that the method gives to the example"
    return Picture(
        name="attributions",
        title=f"What spoke for {of}: {count} validation examples, baseline {plugin.baseline}{how}",
        png=png,
        alt=f"Each input with its attributions by {', '.join(names)}. "
        + " ".join(in_words(run.adapter, shown, row) for row in range(count)),
        split=SPLIT,
    )


def shares(attributions: Tensor) -> Tensor:
    """Each example's values as parts of the sum of their absolute values, so that methods with other units compare."""
    flat = attributions.double().flatten(1).abs().nan_to_num(posinf=0.0).sum(dim=1)
    return attributions / flat.clamp(min=1e-30).view(-1, *[1] * (attributions.dim() - 1))


def _off(shown: Shown, row: int) -> float | None:
    """How far integrated gradients miss what they should add up to, where they do."""
    found = shown.maps.get("integrated_gradients")
    return None if found is None or bool(found.converged[row]) else float(found.errors[row])


def title(adapter: Adapter, shown: Shown, row: int) -> str:
    """Short lines: pictures stand side by side."""
    flag = "" if _off(shown, row) is None else "\nnot complete"
    certain, why = float(shown.probabilities[row]), KINDS[shown.kinds[row]]
    if _wordless(adapter, shown, row):
        return f"{why}\ncertain to {certain:.1%}{flag}"
    decision, target = _answers(adapter, shown, row)
    return f"{why}\nsays {short(decision)} ({certain:.0%})\ntruth {short(target)}{flag}"


def _wordless(adapter: Adapter, shown: Shown, row: int) -> bool:
    """Whether neither the decision nor the truth can be told in words, as with thousands of samples."""
    scoring = adapter.scoring
    return not scoring.said(shown.decisions[row]) and not scoring.wanted(shown.samples.targets[row].cpu())


def _answers(adapter: Adapter, shown: Shown, row: int) -> tuple[str, str]:
    """The decision and the truth, in the words of the data."""
    scoring = adapter.scoring
    said, wanted = scoring.said(shown.decisions[row]), scoring.wanted(shown.samples.targets[row].cpu())
    return adapter.told(said), adapter.told(wanted)


def in_words(adapter: Adapter, shown: Shown, row: int) -> str:
    decision, target = _answers(adapter, shown, row)
    off = _off(shown, row)
    flag = "" if off is None else f", not complete: {off:.0%} off"
    told = "" if _wordless(adapter, shown, row) else f": decision {decision}, truth {target}"
    return f"Example {shown.samples.numbers[row]} ({KINDS[shown.kinds[row]]}){told}{flag}."
