"""What a larger batch, and its learning rate, would do to a private training: told before it starts.

Over the same epochs and at the same epsilon a larger batch makes fewer steps, each with less noise on its update. What
counts in the end is the noise of all steps together (Sander et al. 2023, Rehn et al. 2025): as long as a larger batch
lowers that, it is worth its memory (Ponomareva et al. 2023).
"""

import functools
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from steelyard.problem import Problem
from steelyard.tasks.learning import Learning
from steelyard_privacy._plan import Plan

TIMES = (2, 4)
FEWEST = 20
"""Steps below which no batch is proposed: a training of so few learns little, however quiet each is."""
WORTH = 1.1
"""Times the signal-to-noise of the whole training, from which on a larger batch is proposed."""


@dataclass(frozen=True, kw_only=True)
class Larger:
    """The same epochs and epsilon with a larger batch.

    Attributes:
        times: So many times as large.
        batch: Examples in it, expected.
        multiplier: Of the noise, about.
        noise: On an update, over that of the plan.
        whole: Signal-to-noise of the whole training, over that of the plan.
    """

    times: int
    batch: int
    multiplier: float
    noise: float
    whole: float


def larger(plan: Plan) -> tuple[Larger, ...]:
    """What batches of twice and four times the size would do; those that the data and the steps allow."""
    steps, batch, sigma = plan.steps, plan.population.batch_size, plan.mechanism.noise_multiplier
    found: list[Larger] = []
    for times in TIMES:
        if steps is None or steps // times < FEWEST or times * batch > len(plan.population.indices):
            break
        multiplier = noise_of(sigma, times=times)
        noise = multiplier / sigma / times
        whole = 1 / (noise * math.sqrt(times))
        found.append(Larger(times=times, batch=times * batch, multiplier=multiplier, noise=noise, whole=whole))
    return tuple(found)


def noise_of(sigma: float, *, times: int) -> float:
    """The noise multiplier that keeps the privacy of a training, about, whose batches grow and whose epochs stay.

    By the central limit theorem of Gaussian differential privacy (Bu et al. 2020) steps T at rate q cost
    mu = q sqrt(T (exp(1 / sigma^2) - 1)); q grows and T shrinks by the same factor.
    """
    # Little noise makes the exponential overflow, and then its logarithm is linear.
    inverse = sigma**-2
    grown = math.log1p(math.expm1(inverse) / times) if inverse < 700 else inverse - math.log(times)
    return grown**-0.5


def advice(plan: Plan, task: nn.Module, *, given: bool) -> Problem | None:
    """In words, with the override of the best; None where nothing can be said of larger batches.

    Args:
        plan: Of the training as it is.
        task: Says which optimizer it makes, if it is one of ours.
        given: Whether the noise multiplier is an option that somebody set.
    """
    found = larger(plan)
    if not found:
        return None
    told = " and ".join(
        f"a batch of {one.batch} has about {one.noise:.2f} of the noise on an update and {one.whole:.2f} times the "
        "signal-to-noise of the whole training"
        for one in found
    )
    same = f"over the same epochs, at the same epsilon, {told}"
    best = max(found, key=lambda one: one.whole)
    if best.whole < WORTH:
        return Problem(f"{same}: a larger batch gains next to nothing here", level="note")
    rate, plain = _learning_rate(task)
    grows = best.times if plain else math.sqrt(best.times)
    why = "SGD, in proportion (Goyal et al. 2017)" if plain else "Adam and its kin, with the root (Malladi et al. 2022)"
    words = [f"data.batch_size={best.batch}"]
    words += [] if rate is None else [f"optimizer.lr={rate * grows:.3g}"]
    words += [f"privacy.dp_sgd.noise_multiplier={best.multiplier:.3g}"] if given else []
    return Problem(f"{same}; the learning rate then grows to {grows:.3g} times ({why})", " ".join(words), level="note")


def _learning_rate(task: nn.Module) -> tuple[float | None, bool]:
    """That of the optimizer, if the task says it, and whether a step is as long as the gradient."""
    made: Any = task.make_optimizer if isinstance(task, Learning) else None
    if not isinstance(made, functools.partial):
        return None, False
    rate = made.keywords.get("lr")
    return (float(rate) if isinstance(rate, int | float) else None), made.func is torch.optim.SGD
