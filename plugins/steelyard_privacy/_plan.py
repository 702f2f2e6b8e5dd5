"""The plan of a private run: who is drawn how often, with how much noise, for how many steps."""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from torch import nn
from torch.nn.parameter import is_lazy

from steelyard import randomness
from steelyard.draft import Draft
from steelyard.problem import refuse
from steelyard_privacy._accounting import MOST_STEPS, Mechanism, accountant, default_delta, noise_for, smallest_epsilon
from steelyard_privacy._adaptive import gradient_noise
from steelyard_privacy._sampling import PoissonLoader, Population, Unsuitable, population_of
from steelyard_privacy.dp_sgd import DPSGD

LIGHTNINGS_EPOCHS = 1000
"""How long Lightning trains when it is given no limit at all."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What was decided before the first step.

    Attributes:
        population: Who can be drawn.
        mechanism: Rate, noise and delta.
        planned_steps: As many as the Trainer's limits allow, or None without limits.
        affordable_steps: As many as the target epsilon affords, or None without a target.
        weights: Numbers that are trained; 0 where that is not known yet.
    """

    population: Population
    mechanism: Mechanism
    planned_steps: int | None
    affordable_steps: int | None
    weights: int

    @property
    def signal_to_noise(self) -> float | None:
        """Length of the clipped sum of one step over that of its noise, at most: B / (sigma sqrt(d)).

        It is reached where every example is clipped and all gradients point the same way; the clipping norm cancels.
        """
        if not self.weights:
            return None
        return self.population.batch_size / (self.mechanism.noise_multiplier * math.sqrt(self.weights))

    @property
    def steps(self) -> int | None:
        """How long it trains; None where only the clock ends it."""
        limits = (self.planned_steps, self.affordable_steps)
        return min((count for count in limits if count is not None), default=None)

    @property
    def epsilon(self) -> float | None:
        """What the whole training costs; None where its length is open."""
        return None if self.steps is None else self.mechanism.epsilon(steps=self.steps)

    def fullest(self, largest: int | None) -> int:
        """Size of the drawn batch that takes most memory: the largest to be expected, or one that is cut less often.

        Args:
            largest: Piece into which a batch is cut; a batch that is cut once more has smaller ones. None: any.
        """
        expected = self.population.batch_size
        deviations = NormalDist().inv_cdf(1 - 1 / (1 + (self.steps or LIGHTNINGS_EPOCHS)))
        drawn = expected + math.ceil(deviations * math.sqrt(expected * (1 - self.population.rate)))
        return drawn if largest is None else min(drawn, -(-expected // largest) * largest)

    def __str__(self) -> str:
        mechanism = self.mechanism
        ratio = self.signal_to_noise
        signal = "" if ratio is None else f", signal-to-noise at most {ratio:.3g} a step on {self.weights:,} weights"
        cost = "" if self.epsilon is None else f", epsilon {self.epsilon:.3g} after {self.steps} steps"
        return (
            f"noise multiplier {mechanism.noise_multiplier:.4g}, {self.population.batch_size} of "
            f"{len(self.population.indices)} examples a step in expectation (rate {mechanism.rate:.4g}){cost}{signal} "
            f"at delta {mechanism.delta:.3g} ({accountant()})"
        )


def make_plan(plugin: DPSGD, draft: Draft) -> Plan:
    """The plan.

    Raises:
        Refused: If there is none.
    """
    population = _population(draft)
    count, rate = len(population.indices), population.rate
    delta = default_delta(count) if plugin.delta is None else plugin.delta
    if delta >= 1 / count:
        raise refuse(
            f"delta {delta:g} is not below 1/N = {1 / count:.3g}: publishing one whole record would count as private",
            fix=f"privacy.dp_sgd.delta={default_delta(count):.3g}",
        )
    steps = planned_steps(draft.trainer, steps_per_epoch=population.steps_per_epoch)
    target, noise = plugin.target_epsilon, plugin.noise_multiplier
    if noise is None:
        noise, affordable = _noise(target, steps=steps, rate=rate, delta=delta), steps
        mechanism = Mechanism(rate=rate, noise_multiplier=noise, delta=delta)
    else:
        mechanism = Mechanism(rate=rate, noise_multiplier=noise, delta=delta)
        affordable = None if target is None else mechanism.affordable_steps(epsilon=target)
    if affordable == 0:
        raise refuse(
            f"with noise multiplier {noise:g} the first step alone costs epsilon {mechanism.epsilon(steps=1):.3g}, "
            f"more than {target:g}",
            fix="privacy.dp_sgd.noise_multiplier=null",
        )
    count_noise = plugin.clip_count_noise * population.batch_size
    if plugin.clip_quantile is not None and gradient_noise(noise, count_noise=count_noise) is None:
        raise refuse(
            f"noise of {count_noise:.3g} on the count of short gradients leaves nothing of a noise multiplier of "
            f"{noise:.3g} for the gradients",
            fix=f"privacy.dp_sgd.clip_count_noise={noise / population.batch_size:.3g}  (or: clip_quantile=null)",
        )
    return Plan(
        population=population,
        mechanism=mechanism,
        planned_steps=steps,
        affordable_steps=None if affordable == MOST_STEPS else affordable,
        weights=_trained(draft.task),
    )


def _trained(task: nn.Module) -> int:
    weights = [weight for weight in task.parameters() if weight.requires_grad]
    return 0 if any(map(is_lazy, weights)) else sum(weight.numel() for weight in weights)


def planned_steps(trainer: Mapping[str, Any], *, steps_per_epoch: int) -> int | None:
    """The number of steps that the Trainer's own limits allow; None where only the clock ends the training."""
    epochs, steps = trainer.get("max_epochs"), trainer.get("max_steps", -1)
    if epochs is None and steps in (None, -1) and trainer.get("max_time") is None:
        epochs = LIGHTNINGS_EPOCHS
    limits = [steps] if steps is not None and steps != -1 else []
    if epochs is not None and epochs != -1:
        limits.append(epochs * steps_per_epoch)
    return min(limits, default=None)


def _population(draft: Draft) -> Population:
    with randomness.forked():
        loader: Any = draft.data.train_dataloader()
        # Who was attached before may have left examples out; where the wraps are on already, they have had their say.
        if not isinstance(loader, PoissonLoader):
            loader = functools.reduce(lambda made, wrap: wrap(made), draft.loaders, loader)
    try:
        return population_of(loader)
    except Unsuitable as unsuitable:
        raise refuse(str(unsuitable), fix=unsuitable.fix) from unsuitable


def _noise(target: float | None, *, steps: int | None, rate: float, delta: float) -> float:
    if target is None:
        raise refuse(
            "neither target_epsilon nor noise_multiplier says how much noise to add",
            fix="privacy.dp_sgd.target_epsilon=8",
        )
    if steps is None:
        raise refuse(
            "the noise follows from target_epsilon and the number of steps, but nothing limits the steps",
            fix="trainer.max_epochs=20  (or: privacy.dp_sgd.noise_multiplier=1.0)",
        )
    noise = noise_for(epsilon=target, delta=delta, rate=rate, steps=max(steps, 1))
    if noise is None:
        reachable = smallest_epsilon(delta=delta, rate=rate, steps=max(steps, 1))
        raise refuse(
            f"epsilon {target:g} cannot be reached: {steps} steps at rate {rate:.3g} and delta {delta:.3g} cost "
            f"{reachable:.3g} at least, whatever the noise",
            fix=f"privacy.dp_sgd.target_epsilon={_rounded_up(reachable)}",
        )
    return noise


def _rounded_up(value: float) -> float:
    digits = 6
    return round(value * 1.05 + 10**-digits, digits)
