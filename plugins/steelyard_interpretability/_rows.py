"""The numbers of `interpretability.attribution`."""

from collections.abc import Iterator, Mapping

from torch import Tensor

from steelyard.measurement import Better, Measurement, Status
from steelyard.statistics import mean_interval, proportion
from steelyard_interpretability._agreement import rank_agreement
from steelyard_interpretability._deletion import area
from steelyard_interpretability._explain import Map, Study
from steelyard_interpretability._samples import SPLIT
from steelyard_interpretability.attribution import Attribution
from steelyard_interpretability.methods.registry import METHODS

At = Mapping[str, str | float]
MEANINGS = {
    "deletion_gap": "how much more certainty goes when the parts called important are removed than when random ones "
    "are; 0 is guessing",
    "deletion_area": "certainty that is left, on average, while parts of the input are removed, most important first",
    "weights_gap": "how much better the explanation does than that of an untrained copy of the model; "
    "at 0 it would not depend on what was learnt",
    "randomized_similarity": "how alike the explanations of the model and of an untrained copy are; "
    "0 is not at all, 1 is the same order of parts",
    "randomized_similarity_absolute": "how alike the explanations of the model and of an untrained copy are "
    "when speaking for and against counts the same",
    "completeness_error": "how far the parts' contributions miss what they should add up to; 0 is not at all",
    "converged": "share of the explanations whose contributions add up as they should",
    "deletion": "certainty that is left after this share of the input's parts was removed",
}


def one_method(plugin: Attribution, found: Study, name: str, *, note: str, at: At) -> Iterator[Measurement]:
    """The rows of one method; completeness only of those that promise it."""
    yield from _faithfulness(found, name, note, at)
    if METHODS[name].complete:
        yield from _completeness(plugin, found.maps[name], at)


def curves(found: Study, *, several: bool) -> Iterator[Measurement]:
    """The deletion curves of the methods and of the random orders."""
    ours = {name if several else "attribution": judged.ours for name, judged in found.judged.items()}
    for order, columns in {**ours, "random": found.common.chance}.items():
        for count, column in zip(found.counts, columns.T, strict=True):
            mean, interval = mean_interval(column, low=0, high=1)
            yield Measurement(
                name="deletion",
                value=mean,
                interval=interval,
                count=len(column),
                at={"removed": round(count / found.counts[-1], 4), "order": order},
                split=SPLIT,
                note="mean probability of the decision",
                meaning=MEANINGS["deletion"],
            )


def _faithfulness(found: Study, name: str, note: str, at: At) -> Iterator[Measurement]:
    judged, counts = found.judged[name], found.counts
    gone, chance, untaught = (
        area(curve, counts=counts) for curve in (judged.ours, found.common.chance, judged.untaught)
    )
    taught = _mean(
        "weights_gap",
        untaught - gone,
        Better.HIGHER,
        f"control: area in the order of a re-initialised copy minus area in ours; on the trained model, paired; {note}",
        at,
    )
    # Not above zero: an explanation that ignores the weights would have done as well.
    lost = taught.interval is not None and taught.interval[0] > 0
    status = Status.MEASURED if lost else Status.INVALID
    failed = "" if lost else "control failed: attributions of a re-initialised copy do as well (weights_gap); "
    words = f"{failed}area in random order minus area in ours; paired; {note}"
    yield _mean("deletion_gap", chance - gone, Better.HIGHER, words, at, status)
    yield _mean("deletion_area", gone, Better.LOWER, f"{failed}mean probability of the decision; {note}", at, status)
    yield taught
    ours, theirs, present = judged.units, judged.untaught_units, found.common.present
    words = "control: Spearman correlation, unit by unit"
    yield _agreement("randomized_similarity", rank_agreement(ours, theirs, present=present), words, at)
    # Where (input - baseline) is a factor of both, this one stays high even for a faithful explanation.
    absolute = f"{words}, in absolute value; a method that multiplies by input - baseline stays above 0 by that"
    ranks = rank_agreement(ours.abs(), theirs.abs(), present=present)
    yield _agreement("randomized_similarity_absolute", ranks, absolute, at)


def _completeness(plugin: Attribution, explained: Map, at: At) -> Iterator[Measurement]:
    count, least, most = len(explained.errors), int(explained.steps.min()), int(explained.steps.max())
    steps = f"; {least}" if least == most else f"; {least} to {most}"
    yield Measurement(
        name="completeness_error",
        value=float(explained.errors.median()),
        better=Better.LOWER,
        count=count,
        at=at,
        split=SPLIT,
        meaning=MEANINGS["completeness_error"],
        note=f"median of |sum - difference| / |difference|{f'{steps} steps' if most else ''}",
    )
    within = f" within {plugin.max_steps} steps" if most else ""
    yield proportion(
        "converged",
        int(explained.converged.sum()),
        count,
        better=Better.HIGHER,
        split=SPLIT,
        at={**at},
        meaning=MEANINGS["converged"],
        note=f"completeness error at most {plugin.tolerance:g}{within}; necessary, not sufficient",
    )


def _agreement(name: str, rows: Tensor, words: str, at: At) -> Measurement:
    if not len(rows):
        return Measurement(
            name=name,
            status=Status.SKIPPED,
            at=at,
            split=SPLIT,
            note="every attribution is constant: there are no ranks",
            meaning=MEANINGS[name],
        )
    return _mean(name, rows, Better.LOWER, words, at)


def _mean(
    name: str, values: Tensor, better: Better, note: str, at: At, status: Status = Status.MEASURED
) -> Measurement:
    mean, interval = mean_interval(values, low=0 if name == "deletion_area" else -1, high=1)
    return Measurement(
        name=name,
        value=mean,
        status=status,
        better=better,
        interval=interval,
        count=len(values),
        at=at,
        split=SPLIT,
        note=note,
        meaning=MEANINGS[name],
    )
