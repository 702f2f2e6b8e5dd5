"""The numbers of `interpretability.faithfulness`, each with what it says and where it is biased."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from steelyard.measurement import Better, Measurement, Status
from steelyard.statistics import mean_interval, proportion
from steelyard_interpretability._samples import SPLIT
from steelyard_interpretability._trials import Line, Trial, Trials
from steelyard_interpretability._verdicts import Verdict, agreements, known

UNSEEN = "bias: what is left after removal is unlike anything the model was trained on"
SMOOTH = f"{UNSEEN}, and smooth maps do better than they should"


LOSSES = ("comprehensiveness", "sufficiency")
RANGES = {
    "agreement": (-1.0, 1.0),
    "class_contrast": (-1.0, 1.0),
    "randomized_similarity": (-1.0, 1.0),
    "randomized_structure": (-1.0, 1.0),
    "top_overlap": (0.0, 1.0),
    "infidelity": (0.0, 1.0),
    "sparseness": (0.0, 1.0),
    "deletion": (0.0, 1.0),
    "insertion": (0.0, 1.0),
    "oracle_gap": (0.0, 1.0),
    **dict.fromkeys(
        (*(f"{line}_gap" for line in ("deletion", "insertion", "noise", "edge", "weights")), *LOSSES), (-1.0, 1.0)
    ),
    "max_sensitivity": (0.0, torch.inf),
    "completeness_error": (0.0, torch.inf),
}
"""Where a number cannot leave a range, its interval does not either."""


@dataclass(frozen=True, slots=True)
class _Says:
    meaning: str
    better: Better | None
    bias: str


SAYS: Mapping[str, _Says] = {
    "deletion_gap": _Says(
        "how much more certainty goes when the parts called important are removed than when random ones are; "
        "0 is guessing",
        Better.HIGHER,
        SMOOTH,
    ),
    "insertion_gap": _Says(
        "how much sooner the decision returns when the parts called important are put back than when random ones are; "
        "0 is guessing",
        Better.HIGHER,
        SMOOTH,
    ),
    "noise_gap": _Says(
        "how much more certainty goes than in the order of blurred noise; at 0 the map owes all to its smoothness",
        Better.HIGHER,
        "control",
    ),
    "edge_gap": _Says(
        "how much more certainty goes than in the order of an edge detector, which never saw the model",
        Better.HIGHER,
        "decides nothing: where edges are what the model looks at, an edge detector is right by accident",
    ),
    "oracle_gap": _Says(
        "how much less certainty goes than in the best order that anybody found for each example; 0 is best",
        Better.LOWER,
        f"{UNSEEN}; the search asks about one block at a time, so a better order may exist",
    ),
    "weights_gap": _Says(
        "how much better the explanation does than that of an untrained copy of the model; "
        "at 0 it would not depend on what was learnt",
        Better.HIGHER,
        "control: small for a model that learnt little",
    ),
    "comprehensiveness": _Says(
        "certainty that the decision loses without its most important parts, on average over 1 to 50 % of them",
        Better.HIGHER,
        SMOOTH,
    ),
    "sufficiency": _Says(
        "certainty that the decision loses with nothing but its most important parts; 0 says that they are enough",
        Better.LOWER,
        SMOOTH,
    ),
    "infidelity": _Says(
        "how badly the contributions foretell what the score loses when parts are removed; 0 is exactly, 1 not at all",
        Better.LOWER,
        "bias: additive explanations cannot foretell what parts do only together; scaled as well as can be",
    ),
    "max_sensitivity": _Says(
        "how far the explanation jumps when its input hardly moves, as a part of its size",
        Better.LOWER,
        "bias: an explanation that ignores the model may hardly move at all; a lower bound, from the inputs drawn",
    ),
    "sparseness": _Says(
        "how few parts carry the explanation; 0 is all alike, near 1 a single one",
        None,
        "bias: says nothing of being right; a decision may need many parts",
    ),
    "class_contrast": _Says(
        "how alike the explanations of this decision and of another one are; 1 says that it explains no decision "
        "in particular",
        Better.LOWER,
        "bias: two classes may rest on the same parts",
    ),
    "completeness_error": _Says(
        "how far the parts' contributions miss what they should add up to; 0 is not at all",
        Better.LOWER,
        "bias: errors of single parts may cancel; not promised by every method",
    ),
}
"""Metric -> what it says."""


def numbers(trials: Trials, verdicts: Mapping[str, Verdict]) -> Iterator[Measurement]:
    """All measurements; those of a method that failed a control are invalid."""
    trusted = sum(verdict.trusted for verdict in verdicts.values())
    if verdicts:
        yield proportion(
            "trusted",
            trusted,
            len(verdicts),
            better=Better.HIGHER,
            split=SPLIT,
            meaning="share of the methods whose explanations pass every control on this model",
            note="; ".join(
                f"{name}: {', '.join(verdict.failed)}" for name, verdict in verdicts.items() if verdict.failed
            )
            or "against a random order, blurred noise and a re-initialised copy",
        )
    for name, trial in trials.trials.items():
        yield from _of(trials, trial, verdicts[name])
    for name, reason in trials.refused.items():
        yield Measurement(
            name="deletion_gap",
            status=Status.SKIPPED,
            at={"method": name},
            split=SPLIT,
            note=reason,
            meaning=SAYS["deletion_gap"].meaning,
        )
    yield from _agreement(trials)
    yield from _curves(trials)


def _of(trials: Trials, trial: Trial, verdict: Verdict) -> Iterator[Measurement]:
    failed = "" if verdict.trusted else f"control failed: {', '.join(verdict.failed)}"
    limits = f"; {trials.limits}" if trials.limits else ""
    rows = {
        "deletion_gap": verdict.random,
        "insertion_gap": trial.line.come - trials.random.come,
        "noise_gap": verdict.noise,
        "edge_gap": verdict.edge,
        "oracle_gap": trial.line.gone - trials.oracle.gone,
        "weights_gap": verdict.untaught,
        "comprehensiveness": trial.comprehensiveness,
        "sufficiency": trial.sufficiency,
        "infidelity": trial.infidelity,
        "max_sensitivity": trial.sensitivity,
        "sparseness": trial.sparseness,
        "class_contrast": trial.contrast,
        "completeness_error": trial.errors,
    }
    at: dict[str, str | float] = {"method": trial.name}
    for name, values in rows.items():
        if values is not None:
            yield _mean(name, values, at, failed=failed, limits=limits)
    for step in trial.steps:
        place = {**at, "lost": round(step.share, 4)}
        words = f"mean over examples; layers from the top down to {step.lowest}"
        for name, values, meaning in (
            (
                "randomized_similarity",
                step.ranks,
                "how alike the explanations of the model and of a copy that lost this share of its layers rank the "
                "parts; it has to fall towards 0",
            ),
            (
                "randomized_structure",
                step.maps,
                "how alike those two maps look (structural similarity of the absolute values); it has to fall",
            ),
        ):
            yield _plain(name, known(values), place, Better.LOWER, words, meaning)


def _mean(
    name: str, values: Tensor, at: Mapping[str, str | float], *, failed: str = "", limits: str = ""
) -> Measurement:
    says = SAYS[name]
    status = Status.INVALID if failed else Status.MEASURED
    return _plain(name, known(values), at, says.better, f"{failed or says.bias}{limits}", says.meaning, status)


def _plain(
    name: str,
    values: Tensor,
    at: Mapping[str, str | float],
    better: Better | None,
    note: str,
    meaning: str,
    status: Status = Status.MEASURED,
) -> Measurement:
    if not len(values):
        return Measurement(
            name=name, status=Status.SKIPPED, at=at, split=SPLIT, note="no example has one", meaning=meaning
        )
    low, high = RANGES.get(name, (-torch.inf, torch.inf))
    mean, interval = mean_interval(values, low=low, high=high)
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
        meaning=meaning,
    )


def _agreement(trials: Trials) -> Iterator[Measurement]:
    for one, other, ranks, tops in agreements(trials):
        at = {"methods": f"{one} and {other}"}
        note = "bias: methods of one family agree without being right"
        yield _plain(
            "agreement", ranks, at, None, note, "how alike two methods rank the parts; 0 is not at all, 1 the same"
        )
        yield _plain(
            "top_overlap", tops, at, None, note, "share of the most important tenth of the parts that two methods share"
        )


def _curves(trials: Trials) -> Iterator[Measurement]:
    lines: dict[str, Line] = {name: trial.line for name, trial in trials.trials.items()}
    lines |= {
        "random order": trials.random,
        "blurred noise": trials.noise,
        "edge detector": trials.edge,
        "best found": trials.oracle,
    }
    for metric, moved, meaning in (
        ("deletion", "removed", "certainty that is left after this share of the input's parts was removed"),
        ("insertion", "put back", "certainty that is there after this share of the input's parts was put back"),
    ):
        for order, line in lines.items():
            columns = (line.deletion if metric == "deletion" else line.insertion).T
            for count, column in zip(trials.counts, columns, strict=True):
                at = {moved.replace(" ", "_"): round(count / trials.counts[-1], 4), "order": order}
                yield _plain(metric, column, at, None, "mean probability of the decision", meaning)
