"""From a run to questions about its examples."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor

from steelyard.runs import Run
from steelyard_interpretability._deletion import importance
from steelyard_interpretability._samples import Samples
from steelyard_interpretability.methods.question import Question

Pose = Callable[[LightningModule, Tensor], Question]
"""A task and the decisions to explain -> the question about all chosen examples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The chosen examples, what was decided on them, and how to ask about them.

    Attributes:
        decisions: One row per example.
        others: Another decision of the same model for each example: what it decided on a later one.
        differ: Whether that is another decision (N,).
        pose: Makes the question.
    """

    decisions: Tensor
    others: Tensor
    differ: Tensor
    pose: Pose


def asked_of(run: Run, samples: Samples, **settings: Any) -> Asked:
    """Asks the task once, and keeps how to ask it again.

    Args:
        run: Left as it was found.
        samples: The examples.
        settings: Of every question: its tolerance, steps, effort.

    Raises:
        ValueError: If the task's outputs are not finite.
    """
    adapter, scoring = run.adapter, run.adapter.scoring
    units = adapter.features(samples.inputs).to(samples.inputs.device)
    with torch.no_grad():
        outputs = adapter.outputs(run.task, samples.batch)
    decisions = scoring.decisions(outputs, samples.targets)
    if not bool(torch.isfinite(scoring.probabilities(outputs, decisions)).all()):
        raise ValueError("the task's outputs are not finite on the validation split, so there is nothing to explain")

    def pose(task: LightningModule, which: Tensor) -> Question:
        def answer(x: Tensor, rows: Tensor) -> Any:
            return adapter.outputs(task, adapter.replace(adapter.take(samples.batch, rows), x))

        @torch.no_grad()
        def probability(x: Tensor, rows: Tensor) -> Tensor:
            return scoring.probabilities(answer(x, rows), which[rows])

        return Question(
            inputs=samples.inputs,
            baselines=samples.baseline.expand_as(samples.inputs),
            units=units,
            present=present_units(adapter.present(samples.batch), like=samples.inputs, units=units),
            numbers=samples.numbers,
            seed=run.seed,
            score=lambda x, rows: scoring.scores(answer(x, rows), which[rows]),
            probability=probability,
            task=task,
            **settings,
        )

    others, differ = _others(decisions, scoring.same)
    return Asked(decisions=decisions, others=others, differ=differ, pose=pose)


def present_units(places: Tensor | None, *, like: Tensor, units: Tensor) -> Tensor:
    """Which units each example has (N, K)."""
    if places is None:
        places = torch.ones(len(like), 1, dtype=torch.bool, device=like.device)
    spare = [1] * (like.dim() - places.dim())
    return importance(places.reshape(*places.shape, *spare).expand_as(like).to(like.dtype), units=units) > 0


def _others(decisions: Tensor, same: Callable[[Tensor, Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """For each example the next one's decision that is another one, and whether there is any."""
    others, differ = decisions.clone(), torch.zeros(len(decisions), dtype=torch.bool, device=decisions.device)
    for by in range(1, len(decisions)):
        rolled = decisions.roll(-by, dims=0)
        new = ~differ & ~same(decisions, rolled)
        others[new], differ = rolled[new], differ | new
    return others, differ
