"""Whether a method may be trusted on this model: four controls, each of which it can fail."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from steelyard.statistics import mean_interval
from steelyard_interpretability._agreement import rank_agreement
from steelyard_interpretability._trials import Trial, Trials
from steelyard_interpretability.measures.shape import top_overlap

ALIKE = 0.9
"""Rank correlation with the explanation of a re-initialised copy from which on an explanation ignores the weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the controls say of one method.

    Attributes:
        failed: The controls that it fails, in words; none where it may be trusted.
        random: How much less is left under its deletion curve than under that of a random order (N,).
        noise: The same against blurred noise (N,).
        edge: The same against an edge detector (N,); it decides nothing.
        untaught: The same against the explanation of a re-initialised copy (N,).
        alike: Mean rank correlation with that explanation; None where neither has any order.
    """

    failed: tuple[str, ...]
    random: Tensor
    noise: Tensor
    edge: Tensor
    untaught: Tensor
    alike: float | None

    @property
    def trusted(self) -> bool:
        """Whether all controls hold."""
        return not self.failed


def verdict(trials: Trials, trial: Trial) -> Verdict:
    """Holds one method against its controls."""
    gaps = {
        "no better than a random order": trials.random.gone - trial.line.gone,
        "no better than blurred noise": trials.noise.gone - trial.line.gone,
        "a re-initialised copy's explanation does as well": trial.untaught - trial.line.gone,
    }
    failed = [words for words, gap in gaps.items() if not above_zero(gap)]
    alike = float(trial.steps[-1].ranks.mean()) if len(trial.steps[-1].ranks) else None
    if alike is None:
        failed.append("the explanations have no order at all")
    elif alike > ALIKE:
        failed.append(f"the explanation stays the same when the weights are lost (rank correlation {alike:.2f})")
    random, noise, untaught = gaps.values()
    return Verdict(
        failed=tuple(failed),
        random=random,
        noise=noise,
        edge=trials.edge.gone - trial.line.gone,
        untaught=untaught,
        alike=alike,
    )


def above_zero(values: Tensor) -> bool:
    """Whether the mean is above 0 at 95 %."""
    _, interval = mean_interval(values, low=-1, high=1)
    return interval is not None and interval[0] > 0


def agreements(trials: Trials) -> Sequence[tuple[str, str, Tensor, Tensor]]:
    """For each pair of methods: rank correlation (M,), and overlap of the most important tenth (N,)."""
    names, found = [*trials.trials], list[tuple[str, str, Tensor, Tensor]]()
    for place, one in enumerate(names):
        for other in names[place + 1 :]:
            ours, theirs = trials.trials[one].units, trials.trials[other].units
            ranks = rank_agreement(ours, theirs, present=trials.present)
            found.append((one, other, ranks, top_overlap(ours, theirs, present=trials.present)))
    return found


def known(values: Tensor) -> Tensor:
    """Those that are numbers."""
    return values[torch.isfinite(values)]
