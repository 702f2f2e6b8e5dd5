"""Every method on the same examples, beside lines that know nothing of the model."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from steelyard.runs import Run
from steelyard_interpretability._agreement import rank_agreement
from steelyard_interpretability._asking import Asked, asked_of
from steelyard_interpretability._deletion import area, random_ranks, ranks_by, removal_counts
from steelyard_interpretability._limits import LATE, fitting, left_of, planned
from steelyard_interpretability._randomize import Stage, cascade
from steelyard_interpretability._safe import explaining
from steelyard_interpretability._samples import Samples, collect, some
from steelyard_interpretability.faithfulness import Faithfulness
from steelyard_interpretability.measures.curves import deletion, erasure, insertion, order_of
from steelyard_interpretability.measures.fidelity import infidelity, subsets
from steelyard_interpretability.measures.grid import sides, similarity
from steelyard_interpretability.measures.lines import blurred_noise, edges, searched
from steelyard_interpretability.measures.sensitivity import max_sensitivity
from steelyard_interpretability.measures.shape import gini
from steelyard_interpretability.methods.probe import probed
from steelyard_interpretability.methods.question import Explain, Question, per_unit
from steelyard_interpretability.methods.registry import METHODS


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One order of the units and what it does to the decision.

    Attributes:
        deletion: The curve while they leave (N, points).
        insertion: The curve while they enter (N, points).
        gone: The area under the first (N,).
        come: The area under the second (N,).
    """

    deletion: Tensor
    insertion: Tensor
    gone: Tensor
    come: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The explanation after the top layers have lost their weights.

    Attributes:
        share: Of the layers that lost theirs.
        lowest: The lowest of them.
        ranks: Spearman's correlation with the explanation of the trained task, unit by unit (M,).
        maps: Structural similarity of the absolute maps (N,).
    """

    share: float
    lowest: str
    ranks: Tensor
    maps: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What became of one method; one row per example, on the CPU.

    Attributes:
        name: Of the method.
        attributions: Shaped as the inputs.
        units: Importance of each unit (N, K).
        line: Its own order.
        untaught: Area under the deletion curve in the order of the wholly re-initialised copy's explanation (N,).
        errors: |sum of the attributions - what the score loses to the baseline|, as a fraction of it (N,).
        comprehensiveness: (N,).
        sufficiency: (N,).
        infidelity: (N,), NaN where nothing changes the score.
        sensitivity: (N,), NaN where the explanation is zero; None where it was not asked for.
        sparseness: (N,), NaN where the explanation is zero.
        steps: From the top layer down to all of them.
        contrast: Rank correlation with the explanation of another decision (M,), of the examples that have one.
        seconds: What it took.
    """

    name: str
    attributions: Tensor
    units: Tensor
    line: Line
    untaught: Tensor
    errors: Tensor
    comprehensiveness: Tensor
    sufficiency: Tensor
    infidelity: Tensor
    sensitivity: Tensor | None
    sparseness: Tensor
    steps: tuple[Step, ...]
    contrast: Tensor
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """All methods that were tried, and the lines beside them.

    Attributes:
        samples: The examples.
        asked: What was decided on them.
        present: Which units they have (N, K).
        counts: Units removed at each point of the curves.
        random: The mean of the random orders.
        noise: Blurred noise.
        edge: An edge detector.
        oracle: For each example the best order that anybody found, the search and the methods included.
        trials: By method.
        refused: Method -> why there is nothing of it.
        orders: Random orders for each example.
        limits: What `max_seconds`, the deadline and `max_memory_mb` took away; empty for nothing.
    """

    samples: Samples
    asked: Asked
    present: Tensor
    counts: list[int]
    random: Line
    noise: Line
    edge: Line
    oracle: Line
    trials: Mapping[str, Trial]
    refused: Mapping[str, str] = field(default_factory=dict[str, str])
    orders: int = 0
    limits: str = ""


def tried(run: Run, plugin: Faithfulness, methods: Mapping[str, Explain] | None = None) -> Trials:
    """Explains the chosen examples by every method and takes the measure of each.

    Args:
        run: Left as it was found.
        plugin: The settings.
        methods: By name; None for those of the settings.
    """
    explains = methods or {name: METHODS[name].explain for name in plugin.methods}
    with explaining(run.task):
        started = time.monotonic()
        samples = collect(run, count=plugin.samples, baseline=plugin.baseline)
        stages = [*cascade(run.task, seed=run.seed, stages=plugin.stages)]
        one = asked_of(run, some(run, samples, [0]))
        passes = fitting(one.pose(run.task, one.decisions), max_memory_mb=plugin.max_memory_mb)

        def tries(places: Sequence[int], effort: float) -> Trials:
            whole = len(places) == len(samples.numbers)
            part = samples if whole else some(run, samples, places)
            return _tried(run, _less(plugin, effort), part, stages, explains, effort=effort, at_once=passes.at_once)

        left = left_of(run, max_seconds=plugin.max_seconds, started=started)
        plan = planned(
            tries, count=len(samples.numbers), extra=0, max_seconds=left.seconds, started=started, what=left.what
        )
        found = tries(plan.places, plan.effort)
    late = [name.replace("_", " ") for name, words in found.refused.items() if words == LATE]
    missing = f"the deadline left no time for {', '.join(late)}" if late else ""
    return replace(found, limits="; ".join(words for words in (plan.words, missing, passes.words) if words))


def _less(plugin: Faithfulness, effort: float) -> Faithfulness:
    return replace(
        plugin,
        random_orders=max(1, round(plugin.random_orders * effort)),
        draws=max(2, round(plugin.draws * effort)),
        neighbours=max(1, round(plugin.neighbours * effort)) if plugin.neighbours else 0,
    )


def _tried(
    run: Run,
    plugin: Faithfulness,
    samples: Samples,
    stages: Sequence[Stage],
    methods: Mapping[str, Explain],
    **settings: float,
) -> Trials:
    refused: dict[str, str] = {}
    trials: dict[str, Trial] = {}
    asked = asked_of(run, samples, **settings)
    question = asked.pose(run.task, asked.decisions)
    probe = probed(question)
    counts = removal_counts(question.present.shape[1], points=plugin.removals)
    for name, explain in methods.items():
        if objection := probe.objection(name):
            refused[name] = objection
            continue
        if trials and run.deadline is not None and time.monotonic() > run.deadline:
            refused[name] = LATE
            continue
        try:
            trials[name] = _trial(name, explain, asked, question, stages, plugin, counts, run)
        except ValueError as error:
            refused[name] = str(error)
    lines = _lines(question, counts, orders=plugin.random_orders)
    everyone = [*lines.values(), *(trial.line for trial in trials.values())]
    return Trials(
        samples=samples,
        asked=asked,
        present=question.present.cpu(),
        counts=counts,
        random=lines["random"],
        noise=lines["noise"],
        edge=lines["edge"],
        oracle=_best(everyone),
        trials=trials,
        refused=refused,
        orders=plugin.random_orders,
    )


def _trial(
    name: str,
    explain: Explain,
    asked: Asked,
    question: Question,
    stages: Sequence[Stage],
    plugin: Faithfulness,
    counts: Sequence[int],
    run: Run,
) -> Trial:
    start = time.perf_counter()
    attributions = explain(question).detach()
    units = per_unit(attributions, question)
    if not bool(torch.isfinite(units).all()):
        raise ValueError("its attributions are not finite")
    shape, present = sides(question.units), question.present
    steps: list[Step] = []
    theirs = units
    for stage in stages:
        theirs = per_unit(explain(asked.pose(stage.task, asked.decisions)).detach(), question)
        steps.append(
            Step(
                share=stage.share,
                lowest=stage.lowest,
                ranks=rank_agreement(units, theirs, present=present),
                maps=similarity(units, theirs, shape=shape).cpu(),
            )
        )
    untaught = area(deletion(question, order_of(theirs, question), counts=counts), counts=counts)
    complete, sufficient = erasure(question, units)
    rows = torch.arange(len(units), device=units.device)
    with torch.no_grad():
        ends = [question.score(end.clone(), rows) for end in (question.inputs, question.baselines)]
        difference = ends[0] - ends[1]
    differ = asked.differ.to(units.device)
    other = per_unit(explain(asked.pose(run.task, asked.others)).detach(), question)
    spread = float(question.inputs[_where(question)].std())
    return Trial(
        name=name,
        attributions=attributions.cpu(),
        units=units.cpu(),
        line=_line(question, order_of(units, question), counts),
        untaught=untaught.cpu(),
        errors=((attributions.flatten(1).sum(dim=1) - difference).abs() / difference.abs()).cpu(),
        comprehensiveness=complete.cpu(),
        sufficiency=sufficient.cpu(),
        infidelity=infidelity(question, units, gone=subsets(question, draws=plugin.draws)).cpu(),
        sensitivity=max_sensitivity(
            explain, question, radius=plugin.radius * spread, draws=plugin.neighbours, ours=attributions
        ).cpu()
        if plugin.neighbours and spread > 0
        else None,
        sparseness=gini(units, present=present).cpu(),
        steps=tuple(steps),
        contrast=rank_agreement(units[differ], other[differ], present=present[differ])
        if bool(differ.any())
        else units.new_zeros(0).cpu(),
        seconds=time.perf_counter() - start,
    )


def _where(question: Question) -> Tensor:
    """The elements that are no padding, as a mask of the inputs."""
    return question.present[:, question.units]


def _line(question: Question, ranks: Tensor, counts: Sequence[int]) -> Line:
    gone, come = deletion(question, ranks, counts=counts).cpu(), insertion(question, ranks, counts=counts).cpu()
    return Line(deletion=gone, insertion=come, gone=area(gone, counts=counts), come=area(come, counts=counts))


def _lines(question: Question, counts: Sequence[int], *, orders: int) -> dict[str, Line]:
    units, present = question.present.shape[1], question.present
    shuffled = random_ranks(question.seed, numbers=question.numbers, units=units, orders=orders)
    drawn = [_line(question, ranks_by(-ranks.to(present.device), present=present), counts) for ranks in shuffled]
    return {
        "random": Line(
            deletion=torch.stack([line.deletion for line in drawn]).mean(dim=0),
            insertion=torch.stack([line.insertion for line in drawn]).mean(dim=0),
            gone=torch.stack([line.gone for line in drawn]).mean(dim=0),
            come=torch.stack([line.come for line in drawn]).mean(dim=0),
        ),
        "noise": _line(question, order_of(blurred_noise(question), question), counts),
        "edge": _line(question, order_of(edges(question), question), counts),
        "search": _line(question, order_of(searched(question), question), counts),
    }


def _best(lines: Sequence[Line]) -> Line:
    """For each example the line with the smallest area of deletion, and the one with the largest of insertion."""
    gone, come = torch.stack([line.gone for line in lines]), torch.stack([line.come for line in lines])
    least, most = gone.argmin(dim=0), come.argmax(dim=0)
    rows = torch.arange(gone.shape[1])
    return Line(
        deletion=torch.stack([line.deletion for line in lines])[least, rows],
        insertion=torch.stack([line.insertion for line in lines])[most, rows],
        gone=gone[least, rows],
        come=come[most, rows],
    )
