# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""By how much does one example move the clipped sum?"""

import math
from typing import Any, NamedTuple, Protocol

import torch
from pytorch_lightning import LightningModule
from torch import Tensor

from steelyard.undisturbed import reseed, undisturbed
from steelyard_privacy._batches import take
from steelyard_privacy._choice import Choice
from steelyard_privacy._engine import Objective
from steelyard_privacy._sums import Sums

EXAMPLES = 4
CHUNK = 2**16
"""So many numbers are compared at once."""
SMALL = 1e-3
"""Of the shortest gradient: the clipping norm with which it is tried, so that every example is clipped."""


class Clipped(NamedTuple):
    """The clipped sum over a batch, and the norms of its gradients before clipping."""

    total: Tensor
    norms: Tensor


class Clip(Protocol):
    """What the training itself clips by."""

    def __call__(self, batch: Any, *, count: int, max_norm: float, anew: bool) -> Clipped:
        """The clipped sum over `count` examples; if not `anew`, it is added to what stands in its memory."""
        ...


def clip_by(choice: Choice, sums: Sums, trial: Objective) -> Clip:
    """What a training clips by, always into the same memory."""

    def clip(batch: Any, *, count: int, max_norm: float, anew: bool) -> Clipped:
        if anew:
            sums.reset()
        norms = choice.add_clipped(sums, batch, count=count, objective=trial, max_norm=max_norm)
        return Clipped(sums.total(), norms)

    return clip


def sensitivity(clip: Clip, batch: Any, *, count: int, task: LightningModule) -> float | None:
    """How far removing an example moves the sum of clipped gradients, over the clipping norm; the worst of a few.

    With a clipping norm below every gradient each example is worth exactly one clipping norm, so that the answer is 1.
    What clips layer by layer, clips the mean, clips nothing or overlooks a weight in the norm gives another one, above
    or below: the value furthest from 1 is returned.

    Returns:
        None if this batch cannot tell: it has fewer than two examples, or gradients that are zero or not finite.
    """
    count = min(count, EXAMPLES)
    if count < 2:
        return None
    few = take(batch, slice(0, count))

    def again(some: Any, number: int, *, max_norm: float, anew: bool = True) -> Clipped:
        reseed()
        return clip(some, count=number, max_norm=max_norm, anew=anew)

    with undisturbed(task):
        # Dropout would tell other examples apart once one of them is gone.
        task.eval()
        norms = again(few, count, max_norm=1.0).norms
        shortest = float(norms.min()) if len(norms) else 0.0
        if not (bool(torch.isfinite(norms).all()) and shortest > 0):
            return None
        max_norm = SMALL * shortest
        moves: list[float] = []
        for place in range(count):
            # The sum without one, less the whole one, in the same memory: another vector is as large as all weights.
            again(few, count, max_norm=max_norm).total.neg_()
            others = take(few, _but(place, count))
            moves.append(length(again(others, count - 1, max_norm=max_norm, anew=False).total))
    return max((move / max_norm for move in moves), key=lambda ratio: abs(ratio - 1))


def length(vector: Tensor) -> float:
    """Of a long vector, in double precision and with little memory."""
    return math.hypot(*(float(part.double().norm()) for part in vector.split(CHUNK)))


def slack(task: LightningModule, device: torch.device) -> float:
    """How far from 1 rounding alone may bring it."""
    low = torch.is_autocast_enabled(device.type) or any(weight.dtype.itemsize < 4 for weight in task.parameters())
    return 0.25 if low else 0.02


def _but(place: int, count: int) -> list[int]:
    return [index for index in range(count) if index != place]
