"""The live half of `interpretability.attribution`."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from steelyard.adapters import Adapter
from steelyard.attachment import Attachment
from steelyard.measurement import Artefact, Better, Measurement, Picture, Status
from steelyard.runs import Run
from steelyard.statistics import mean_interval, proportion
from steelyard_interpretability._agreement import rank_agreement
from steelyard_interpretability._deletion import area
from steelyard_interpretability._explain import Explanations, Study, study
from steelyard_interpretability._samples import SPLIT
from steelyard_interpretability.attribution import Attribution

LETTERS = 50
"""Of an answer that stand in a caption."""
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


class AttributionAttachment(Attachment):
    """Explains after training; during training it does nothing."""

    def __init__(self, plugin: Attribution) -> None:
        self._plugin = plugin

    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """Deletion with its controls, completeness, curves, and the pictures."""
        found = study(run, self._plugin)
        yield from _faithfulness(found, self._note(run, found))
        yield from self._completeness(found.explanations)
        yield from _curves(found)
        if self._plugin.pictures:
            yield self._picture(run, found)

    def _note(self, run: Run, found: Study) -> str:
        done, chosen = len(found.explanations.errors), len(found.samples.numbers)
        cut = "" if done == chosen else f"; the deadline left time for {done} of {chosen} examples"
        fewer = "" if bool(found.explanations.present.all()) else "up to "
        return f"baseline {self._plugin.baseline}, {fewer}{found.counts[-1]} units{cut}"

    def _completeness(self, found: Explanations) -> Iterator[Measurement]:
        count, least, most = len(found.errors), int(found.steps.min()), int(found.steps.max())
        steps = f"{least}" if least == most else f"{least} to {most}"
        yield Measurement(
            name="completeness_error",
            value=float(found.errors.median()),
            better=Better.LOWER,
            count=count,
            split=SPLIT,
            meaning=MEANINGS["completeness_error"],
            note=f"median of |sum - difference| / |difference|; {steps} steps",
        )
        yield proportion(
            "converged",
            int(found.converged.sum()),
            count,
            better=Better.HIGHER,
            split=SPLIT,
            meaning=MEANINGS["converged"],
            note=f"completeness error at most {self._plugin.tolerance:g} within {self._plugin.max_steps} steps; "
            "necessary, not sufficient",
        )

    def _picture(self, run: Run, found: Study) -> Picture:
        explained = found.explanations
        rows = torch.linspace(0, len(explained.errors) - 1, min(self._plugin.pictures, len(explained.errors))).long()
        png = run.adapter.draw(
            run.adapter.take(found.samples.batch, rows.to(found.samples.inputs.device)),
            explained.attributions[rows],
            titles=[_title(run.adapter, found, int(row)) for row in rows],
            decisions=explained.decisions[rows],
        )
        return Picture(
            name="attributions",
            title=f"What spoke for the decision: {len(rows)} validation examples, baseline {self._plugin.baseline}",
            png=png,
            alt="Each input with its Integrated Gradients. "
            + " ".join(_words(run.adapter, found, int(row)) for row in rows),
            split=SPLIT,
        )


def _title(adapter: Adapter, found: Study, row: int) -> str:
    """Short lines: pictures stand side by side."""
    explained = found.explanations
    decision, target = _answers(adapter, found, row)
    flag = "" if explained.converged[row] else "\nnot complete"
    certain = float(explained.probabilities[row])
    if _wordless(adapter, found, row):
        return f"certain to {certain:.1%}{flag}"
    return f"says {_short(decision)} ({certain:.0%})\ntruth {_short(target)}{flag}"


def _short(text: str) -> str:
    return text if len(text) <= LETTERS else f"{text[: LETTERS - 1].rstrip()}\N{HORIZONTAL ELLIPSIS}"


def _wordless(adapter: Adapter, found: Study, row: int) -> bool:
    """Whether neither the decision nor the truth can be told in words, as with thousands of samples."""
    scoring = adapter.scoring
    return not scoring.said(found.explanations.decisions[row]) and not scoring.wanted(found.samples.targets[row].cpu())


def _answers(adapter: Adapter, found: Study, row: int) -> tuple[str, str]:
    """The decision and the truth, in the words of the data."""
    scoring = adapter.scoring
    decision, target = found.explanations.decisions[row], found.samples.targets[row].cpu()
    return adapter.told(scoring.said(decision)), adapter.told(scoring.wanted(target))


def _words(adapter: Adapter, found: Study, row: int) -> str:
    explained = found.explanations
    decision, target = _answers(adapter, found, row)
    flag = "" if explained.converged[row] else f", not complete: {float(explained.errors[row]):.0%} off"
    told = "" if _wordless(adapter, found, row) else f": decision {decision}, truth {target}"
    return f"Example {found.samples.numbers[row]}{told}{flag}."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Areas:
    """Areas under the deletion curves, one per example."""

    ours: Tensor
    chance: Tensor
    untaught: Tensor


def _areas(found: Study) -> _Areas:
    explained, counts = found.explanations, found.counts
    return _Areas(
        ours=area(explained.ours, counts=counts),
        chance=area(explained.chance, counts=counts),
        untaught=area(explained.untaught, counts=counts),
    )


def _faithfulness(found: Study, note: str) -> Iterator[Measurement]:
    areas = _areas(found)
    taught = _mean(
        "weights_gap",
        areas.untaught - areas.ours,
        Better.HIGHER,
        f"control: area in the order of a re-initialised copy minus area in ours; on the trained model, paired; {note}",
    )
    # Not above zero: an explanation that ignores the weights would have done as well.
    lost = taught.interval is not None and taught.interval[0] > 0
    status = Status.MEASURED if lost else Status.INVALID
    failed = "" if lost else "control failed: attributions of a re-initialised copy do as well (weights_gap); "
    yield _mean(
        "deletion_gap",
        areas.chance - areas.ours,
        Better.HIGHER,
        f"{failed}area in random order minus area in ours; paired; {note}",
        status,
    )
    yield _mean(
        "deletion_area",
        areas.ours,
        Better.LOWER,
        f"{failed}mean probability of the decision; {note}",
        status,
    )
    yield taught
    ours, theirs = found.explanations.units, found.explanations.untaught_units
    present = found.explanations.present
    words = "control: Spearman correlation, unit by unit"
    yield _agreement("randomized_similarity", rank_agreement(ours, theirs, present=present), words)
    # The factor (input - baseline) is common to both, so this one stays high even for a faithful explanation.
    absolute = f"{words}, in absolute value; both contain |input - baseline|, which keeps it above 0"
    yield _agreement(
        "randomized_similarity_absolute", rank_agreement(ours.abs(), theirs.abs(), present=present), absolute
    )


def _agreement(name: str, rows: Tensor, words: str) -> Measurement:
    if not len(rows):
        return Measurement(
            name=name,
            status=Status.SKIPPED,
            split=SPLIT,
            note="every attribution is constant: there are no ranks",
            meaning=MEANINGS[name],
        )
    return _mean(name, rows, Better.LOWER, words)


def _curves(found: Study) -> Iterator[Measurement]:
    explained = found.explanations
    for order, curves in (("attribution", explained.ours), ("random", explained.chance)):
        for count, column in zip(found.counts, curves.T, strict=True):
            mean, interval = mean_interval(column)
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


def _mean(name: str, values: Tensor, better: Better, note: str, status: Status = Status.MEASURED) -> Measurement:
    mean, interval = mean_interval(values)
    return Measurement(
        name=name,
        value=mean,
        status=status,
        better=better,
        interval=interval,
        count=len(values),
        split=SPLIT,
        note=note,
        meaning=MEANINGS[name],
    )
