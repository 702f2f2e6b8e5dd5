"""From a trained run to explanations and their controls."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import torch
from pytorch_lightning import LightningModule
from torch import Tensor

from steelyard.runs import Run
from steelyard_interpretability._answers import ANSWERS, Answer, counted, is_told_by_tokens, token_by_token
from steelyard_interpretability._asking import Asked, asked_of
from steelyard_interpretability._choosing import chosen
from steelyard_interpretability._deletion import importance, random_ranks, removal_counts
from steelyard_interpretability._gradients import completeness_errors
from steelyard_interpretability._limits import LATE, fitting, left_of, planned
from steelyard_interpretability._randomize import reinitialised
from steelyard_interpretability._safe import explaining
from steelyard_interpretability._samples import SPLIT, Samples, collect, others, some
from steelyard_interpretability.attribution import Attribution
from steelyard_interpretability.measures.curves import deletion, order_of
from steelyard_interpretability.methods.gradient import stepped
from steelyard_interpretability.methods.layered import at_layer, of_neuron
from steelyard_interpretability.methods.probe import OF_NEURON, probed
from steelyard_interpretability.methods.question import Question, asked
from steelyard_interpretability.methods.registry import METHODS, finite

CHUNK = 32
"""Examples that are explained together; the deadline is looked at between chunks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Map:
    """What a method says; one row per example.

    Attributes:
        attributions: Shaped as the inputs.
        errors: Completeness errors.
        steps: Steps that completeness asked for; 0 where a method takes none.
        converged: Whether they add up to within the tolerance.
    """

    attributions: Tensor
    errors: Tensor
    steps: Tensor
    converged: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """How one method's order does beside its control; one row per example.

    Attributes:
        ours: Deletion curve in the order of the attributions (N, points).
        untaught: Curve in the order of the re-initialised copy's attributions.
        units: Importance of each unit (N, K).
        untaught_units: The same by the re-initialised copy.
    """

    ours: Tensor
    untaught: Tensor
    units: Tensor
    untaught_units: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """What all methods share; one row per example.

    Attributes:
        decisions: What is explained.
        probabilities: That the model gave to the decision.
        chance: Mean deletion curve of the random orders (N, points).
        present: Which units an example has (N, K): padding is none.
    """

    decisions: Tensor
    probabilities: Tensor
    chance: Tensor
    present: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """The examples to draw.

    Attributes:
        samples: Their places and inputs.
        kinds: Why each was chosen.
        decisions: What is explained.
        probabilities: That the model gave to the decision.
        maps: By method.
        inputs: What is explained by: the examples' inputs, or what a layer gives for them (N, ...).
        units: The unit of each of its elements, shaped as one example.
    """

    samples: Samples
    kinds: tuple[str, ...]
    decisions: Tensor
    probabilities: Tensor
    maps: Mapping[str, Map]
    inputs: Tensor
    units: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """What was explained and how it came out, on the CPU.

    Attributes:
        samples: All chosen examples that the limits allow; the deadline may have left time for the first of them only.
        counts: Units removed at each point of the deletion curves.
        common: Of the examples that there was time for.
        maps: By method.
        judged: By method.
        refused: Method -> why there is nothing of it.
        shown: The examples to draw; None for none.
        answers: The first of these, where answers are tokens: what spoke for each token.
        limits: What `max_seconds`, the deadline and `max_memory_mb` took away; empty for nothing.
    """

    samples: Samples
    counts: list[int]
    common: Common
    maps: Mapping[str, Map]
    judged: Mapping[str, Judged]
    refused: Mapping[str, str]
    shown: Shown | None
    answers: tuple[Answer, ...]
    limits: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Effort:
    share: float
    at_once: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    common: Common
    maps: Mapping[str, Map]
    judged: Mapping[str, Judged]


def study(run: Run, plugin: Attribution) -> Study:
    """Explains the chosen examples and judges the explanations on the trained task."""
    refused: dict[str, str] = {}
    with explaining(run.task):
        started = time.monotonic()
        wide = plugin.background if "deep_lift_shap" in plugin.methods else 0
        samples = collect(run, count=plugin.samples, baseline=plugin.baseline, background=wide)
        twin = reinitialised(run.task, seed=run.seed)
        one = asked_of(run, some(run, samples, [0]))
        first = one.pose(run.task, one.decisions)
        passes = fitting(first, max_memory_mb=plugin.max_memory_mb)
        units = placed(first, plugin).present.shape[1]
        counts = removal_counts(units, points=plugin.removals)

        def pilot(places: Sequence[int], share: float) -> None:
            effort = _Effort(share=share, at_once=passes.at_once)
            _part(run, plugin, twin, some(run, samples, places), counts, {}, effort=effort, first=True)

        left = left_of(run, max_seconds=plugin.max_seconds, started=started)
        plan = planned(
            pilot,
            count=len(samples.numbers),
            extra=plugin.pictures + _answer_questions(run, plugin, one.decisions),
            max_seconds=left.seconds,
            started=started,
            what=left.what,
        )
        effort = _Effort(share=plan.effort, at_once=passes.at_once)
        samples = samples if len(plan.places) == len(samples.numbers) else some(run, samples, plan.places)
        parts: list[_Part] = []
        for start in range(0, len(samples.numbers), CHUNK):
            if parts and _late(run):
                break
            places = range(start, min(start + CHUNK, len(samples.numbers)))
            asked_here = some(run, samples, places)
            parts.append(_part(run, plugin, twin, asked_here, counts, refused, effort=effort, first=not parts))
        told = [name for name in plugin.methods if name not in refused]
        shown = _shown(run, plugin, samples, told, effort)
        return Study(
            samples=samples,
            counts=counts,
            common=_joined([part.common for part in parts]),
            maps={name: _joined([part.maps[name] for part in parts]) for name in told},
            judged={name: _joined([part.judged[name] for part in parts]) for name in told},
            refused=refused,
            shown=shown,
            answers=() if shown is None else _answers(run, plugin, shown, effort),
            limits="; ".join(words for words in (plan.words, passes.words) if words),
        )


def _late(run: Run) -> bool:
    return run.deadline is not None and time.monotonic() > run.deadline


def _part(
    run: Run,
    plugin: Attribution,
    twin: LightningModule,
    samples: Samples,
    counts: Sequence[int],
    refused: dict[str, str],
    *,
    effort: _Effort,
    first: bool,
) -> _Part:
    whole = _asked(run, plugin, samples, effort)
    question = placed(whole.pose(run.task, whole.decisions), plugin)
    if first:
        probe = probed(question)
        refused |= {name: words for name in plugin.methods if (words := probe.objection(name))}
    present = question.present
    maps: dict[str, Map] = {}
    judged: dict[str, Judged] = {}
    for name in plugin.methods:
        if name in refused:
            continue
        if first and judged and _late(run):
            refused[name] = LATE
            continue
        try:
            maps[name] = mapped(name, question)
            theirs = mapped(name, placed(whole.pose(twin, whole.decisions), plugin)).attributions
        except ValueError as error:
            refused[name] = str(error)
            continue
        ours, untaught = (importance(part, units=question.units) for part in (maps[name].attributions, theirs))
        judged[name] = Judged(
            ours=deletion(question, order_of(ours, question), counts=counts),
            untaught=deletion(question, order_of(untaught, question), counts=counts),
            units=ours,
            untaught_units=untaught,
        )
    orders = max(1, round(plugin.random_orders * effort.share))
    shuffled = random_ranks(run.seed, numbers=samples.numbers, units=counts[-1], orders=orders)
    chance = [deletion(question, order_of(-ranks.to(present.device), question), counts=counts) for ranks in shuffled]
    common = Common(
        decisions=whole.decisions,
        probabilities=asked(question.probability, question, question.inputs, question.rows()),
        chance=torch.stack(chance).mean(dim=0),
        present=present,
    )
    return _Part(common=common, maps=maps, judged=judged)


def mapped(name: str, question: Question) -> Map:
    """One method's explanations, and how far they add up; the probe was asked before.

    Raises:
        ValueError: If it is wrong on this model.
    """
    if name == "integrated_gradients":
        found = stepped(question)
        return Map(attributions=found.attributions, errors=found.errors, steps=found.steps, converged=found.converged)
    attributions = finite(METHODS[name].explain(question).detach())
    errors = completeness_errors(attributions, difference=_difference(name, question))
    return Map(
        attributions=attributions,
        errors=errors,
        steps=torch.zeros(len(errors), dtype=torch.int64),
        converged=errors <= question.tolerance,
    )


def _difference(name: str, question: Question) -> Tensor:
    """What the contributions should add up to (N,)."""
    rows = question.rows()
    if name in OF_NEURON and question.below is not None:
        question = question.below
    whole = asked(question.score, question, question.inputs, rows)
    if name != "deep_lift_shap" or question.background is None:
        return whole - asked(question.score, question, question.baselines, rows)
    ends = [asked(question.score, question, base.expand_as(question.inputs), rows) for base in question.background]
    return whole - torch.stack(ends).mean(dim=0)


def placed(question: Question, plugin: Attribution) -> Question:
    """The question about the inputs, or the one about a layer or a neuron that the plugin asks.

    Raises:
        ValueError: If the layer has no one output, or no such neuron.
    """
    if plugin.layer is None:
        return question
    if plugin.neuron:
        return of_neuron(question, plugin.layer, plugin.neuron)
    return at_layer(question, plugin.layer)


def _asked(run: Run, plugin: Attribution, samples: Samples, effort: _Effort) -> Asked:
    return asked_of(run, samples, **_settings(plugin, samples, effort))


def _settings(plugin: Attribution, samples: Samples, effort: _Effort) -> dict[str, Any]:
    return {
        "tolerance": plugin.tolerance,
        "max_steps": plugin.max_steps,
        "effort": effort.share,
        "at_once": effort.at_once,
        "layer": plugin.cam_layer,
        "background": samples.background,
    }


def _answer_questions(run: Run, plugin: Attribution, decisions: Tensor) -> int:
    """How many more questions the tokens of answers are, each about one example."""
    if not is_told_by_tokens(run) or plugin.layer is not None:
        return 0
    return min(ANSWERS, plugin.pictures) * len(counted(decisions[0], effort=1.0))


def _answers(run: Run, plugin: Attribution, shown: Shown, effort: _Effort) -> tuple[Answer, ...]:
    """The first drawn examples, token by token, by the first method."""
    if not is_told_by_tokens(run) or plugin.layer is not None:
        return ()
    name, found = next(iter(shown.maps)), list[Answer]()
    for row in range(min(ANSWERS, len(shown.kinds))):
        places = counted(shown.decisions[row], effort=effort.share)
        if not len(places) or _late(run):
            continue
        one = some(run, shown.samples, [row])
        question = token_by_token(run, one, [*map(int, places)], **_settings(plugin, one, effort))
        map_ = mapped(name, question)
        found.append(
            Answer(
                row=row,
                method=name,
                places=places,
                worth=importance(map_.attributions, units=question.units).cpu(),
                present=question.present[0].cpu(),
                complete=map_.converged.cpu() if METHODS[name].complete else None,
            )
        )
    return tuple(found)


def _shown(run: Run, plugin: Attribution, samples: Samples, methods: Sequence[str], effort: _Effort) -> Shown | None:
    if not plugin.pictures or not methods:
        return None
    kinds, numbers = chosen(run.predict(SPLIT), kinds=plugin.shown, count=plugin.pictures, seed=run.seed)
    picked = others(run, samples, numbers)
    whole = _asked(run, plugin, picked, effort)
    question = placed(whole.pose(run.task, whole.decisions), plugin)
    return Shown(
        samples=picked,
        kinds=kinds,
        decisions=whole.decisions.cpu(),
        probabilities=asked(question.probability, question, question.inputs, question.rows()).cpu(),
        maps={name: _joined([mapped(name, question)]) for name in methods},
        inputs=question.inputs.cpu(),
        units=question.units.cpu(),
    )


_Rows = TypeVar("_Rows", Map, Judged, Common)


def _joined(parts: Sequence[_Rows]) -> _Rows:
    """The rows of all parts, on the CPU."""
    kind = type(parts[0])
    return kind(
        **{field.name: torch.cat([getattr(part, field.name).cpu() for part in parts]) for field in fields(kind)}
    )
