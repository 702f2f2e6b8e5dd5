"""From a trained run to explanations and their controls."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor

from steelyard.runs import Run
from steelyard_interpretability._asking import present_units
from steelyard_interpretability._deletion import (
    deletion_curve,
    importance,
    random_ranks,
    ranks_by,
    removal_counts,
)
from steelyard_interpretability._gradients import integrated_gradients
from steelyard_interpretability._randomize import reinitialised
from steelyard_interpretability._safe import explaining
from steelyard_interpretability._samples import Samples, collect
from steelyard_interpretability.attribution import Attribution

CHUNK = 32
"""Examples that are explained together; the deadline is looked at between chunks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanations:
    """One row per example, on the CPU.

    Attributes:
        attributions: Shaped as the inputs.
        errors: Completeness errors.
        steps: Steps that completeness asked for.
        converged: Whether it was reached.
        decisions: What is explained.
        probabilities: That the model gave to the decision.
        ours: Deletion curve in the order of the attributions (N, points).
        chance: Mean curve of the random orders.
        untaught: Curve in the order of the re-initialised copy's attributions.
        units: Importance of each unit (N, K).
        untaught_units: The same by the re-initialised copy.
        present: Which units an example has (N, K): padding is none.
    """

    attributions: Tensor
    errors: Tensor
    steps: Tensor
    converged: Tensor
    decisions: Tensor
    probabilities: Tensor
    ours: Tensor
    chance: Tensor
    untaught: Tensor
    units: Tensor
    untaught_units: Tensor
    present: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """What was explained and how it came out.

    Attributes:
        samples: All chosen examples; the deadline may have left time for the first of them only.
        explanations: Of the examples that there was time for.
        counts: Units removed at each point of the deletion curves.
    """

    samples: Samples
    explanations: Explanations
    counts: list[int]


def study(run: Run, plugin: Attribution) -> Study:
    """Explains the chosen examples and judges the explanations on the trained task."""
    with explaining(run.task):
        samples = collect(run, count=plugin.samples, baseline=plugin.baseline)
        counts = removal_counts(int(_units(run, samples).max()) + 1, points=plugin.removals)
        twin = reinitialised(run.task, seed=run.seed)
        parts: list[Explanations] = []
        for start in range(0, len(samples.numbers), CHUNK):
            if parts and run.deadline is not None and time.monotonic() > run.deadline:
                break
            parts.append(_explain(run, plugin, twin, samples, slice(start, start + CHUNK), counts))
    joined = {field.name: torch.cat([getattr(part, field.name) for part in parts]) for field in fields(Explanations)}
    return Study(samples=samples, explanations=Explanations(**joined), counts=counts)


def _units(run: Run, samples: Samples) -> Tensor:
    return run.adapter.features(samples.inputs).to(samples.inputs.device)


def _explain(
    run: Run, plugin: Attribution, twin: LightningModule, samples: Samples, rows: slice, counts: Sequence[int]
) -> Explanations:
    adapter, scoring = run.adapter, run.adapter.scoring
    inputs, units = samples.inputs[rows], _units(run, samples)
    baselines = samples.baseline.expand_as(inputs)
    places = torch.arange(len(inputs), device=inputs.device)
    batch = adapter.take(samples.batch, places + rows.start)
    with torch.no_grad():
        outputs = adapter.outputs(run.task, batch)
    decisions = scoring.decisions(outputs, samples.targets[rows])
    probabilities = scoring.probabilities(outputs, decisions)
    if not bool(torch.isfinite(probabilities).all()):
        raise ValueError("the task's outputs are not finite on the validation split, so there is nothing to explain")

    def asked(task: LightningModule, x: Tensor, which: Tensor) -> Any:
        return adapter.outputs(task, adapter.replace(adapter.take(batch, which), x))

    def explained(task: LightningModule) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        found = integrated_gradients(
            lambda x, which: scoring.scores(asked(task, x, which), decisions[which]),
            inputs=inputs,
            baselines=baselines,
            rows=places,
            tolerance=plugin.tolerance,
            max_steps=plugin.max_steps,
        )
        return found.attributions, found.errors, found.steps, found.converged

    @torch.no_grad()
    def probability(x: Tensor) -> Tensor:
        return scoring.probabilities(asked(run.task, x, places), decisions)

    def curve(ranks: Tensor) -> Tensor:
        return deletion_curve(probability, inputs=inputs, baselines=baselines, units=units, ranks=ranks, counts=counts)

    present = present_units(adapter.present(batch), like=inputs, units=units)
    attributions, errors, steps, converged = explained(run.task)
    ours, untaught = importance(attributions, units=units), importance(explained(twin)[0], units=units)
    shuffled = random_ranks(run.seed, numbers=samples.numbers[rows], units=counts[-1], orders=plugin.random_orders)
    found = Explanations(
        attributions=attributions,
        errors=errors,
        steps=steps,
        converged=converged,
        decisions=decisions,
        probabilities=probabilities,
        ours=curve(ranks_by(ours, present=present)),
        chance=torch.stack([curve(ranks_by(-ranks.to(present.device), present=present)) for ranks in shuffled]).mean(
            dim=0
        ),
        untaught=curve(ranks_by(untaught, present=present)),
        units=ours,
        untaught_units=untaught,
        present=present,
    )
    return Explanations(**{field.name: getattr(found, field.name).cpu() for field in fields(Explanations)})
