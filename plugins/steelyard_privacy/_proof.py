# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Proof, on the first batches, that this task can be trained privately, and by the fast engine.

Nothing here leaves a trace in the task or in any random stream.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor

from steelyard.undisturbed import reseed, undisturbed
from steelyard_privacy._batches import take
from steelyard_privacy._engine import Engine, MicrobatchEngine, NotCovered, Objective, tolerance
from steelyard_privacy._sums import Sums

SMALLEST = 3
LARGEST_PART = 4


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why the fast engine is not to be used.

    Attributes:
        reason: For the user.
        final: False if another batch may tell more.
    """

    reason: str
    final: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Engines:
    """The engine in question, the one that is exact for every task, and a vector for their sums."""

    fast: Engine
    slow: MicrobatchEngine
    sums: Sums


def doubt(engines: Engines, *, task: LightningModule, batch: Any, count: int, objective: Objective) -> Doubt | None:
    """Looks for a difference between the engines on a few examples of a real batch.

    Isolation: with half of the examples replaced, the gradients of the others must not move. Batch statistics,
    contrastive losses and means over tokens fail it, and clipping would not bound one example's influence.
    Agreement: the gradient of an example within a batch is the one that it has alone; a summed loss fails it.
    """
    if count < SMALLEST:
        return Doubt("too few examples in this batch to tell", final=False)
    part, sums = min(count // 3, LARGEST_PART), engines.sums
    one = take(batch, slice(0, 2 * part))
    other = take(batch, [*range(2 * part, 3 * part), *range(part, 2 * part)])
    first, kept = torch.zeros(2 * part), torch.zeros(2 * part)
    first[0], kept[part:] = 1, 1
    with undisturbed(task):
        loss = objective(take(one, slice(0, 1)))
        if loss is None:
            return Doubt("the task skips this batch", final=False)
        close = tolerance(loss)
        del loss
        try:
            isolated = _compared(
                sums,
                lambda: _add(engines.fast, sums, one, objective, kept),
                lambda: _add(engines.fast, sums, other, objective, -kept),
                within=close,
            )
            task.eval()
            agrees = _compared(
                sums,
                # This one first, while the sums take no memory: its gradient takes that of all weights.
                lambda: _add(engines.slow, sums, take(one, slice(0, 1)), objective, first[:1]),
                lambda: _add(engines.fast, sums, one, objective, -first),
                within=close,
            )
        except NotCovered as error:
            return Doubt(str(error))
    if isolated is None or agrees is None:
        return Doubt("gradients that are not finite", final=False)
    if not isolated:
        return Doubt("the examples of a batch influence each other's gradients")
    if not agrees:
        return Doubt("an example has another gradient in a batch than alone (is the loss a sum instead of a mean?)")
    return None


def traces(task: LightningModule, *, batch: Any, count: int, objective: Objective) -> list[str]:
    """Names of the buffers in which a training step leaves what it saw: running statistics in any guise.

    Two steps on different examples, alike in everything else, must leave the same: buffers are in the checkpoint, and
    no noise is added to them.

    Args:
        task: In the mode in which it is trained.
        batch: Two examples at least.
        count: Number of examples.
        objective: The task's loss of a batch.
    """
    part = min(count // 2, LARGEST_PART)
    left: list[dict[str, Tensor]] = []
    for some in (slice(0, part), slice(part, 2 * part)):
        with undisturbed(task):
            reseed()
            objective(take(batch, some))
            left.append({name: buffer.detach().clone() for name, buffer in task.named_buffers()})
    one, other = left
    return [name for name in one if name not in other or not _alike(one[name], other[name])]


def _alike(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool(((one == other) | ((one != one) & (other != other))).all())


def _add(engine: Engine, sums: Sums, batch: Any, objective: Objective, weights: Tensor) -> None:
    reseed()
    engine.add(sums, batch, count=len(weights), objective=objective, weighing=lambda norms: weights.to(norms))


def _compared(sums: Sums, add: Callable[[], None], subtract: Callable[[], None], *, within: float) -> bool | None:
    """Whether what is added and what is subtracted are near, in one vector's memory; None where they are not finite."""
    sums.reset()
    sums.let_go()
    add()
    length = sums.total().norm()
    subtract()
    distance = sums.total().norm()
    if not bool(torch.isfinite(torch.stack([length, distance])).all()):
        return None
    # Asked as a condition that is met where all is well: that is how a rehearsal without numbers answers it.
    return bool(distance <= within * length.clamp_min(1e-12))
