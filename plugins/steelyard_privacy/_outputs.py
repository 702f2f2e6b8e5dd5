# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""What the task's training step gives, and what Lightning gets instead."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from pytorch_lightning import LightningModule
from torch import Tensor


@final
class Output:
    """What the task's training step gave for some examples."""

    def __init__(self, given: Any, weight: int) -> None:
        self.given = given
        self.weight = weight
        loss: Any = given.get("loss") if isinstance(given, Mapping) else given
        self.loss: Tensor | None = loss


def spare_backward(task: LightningModule) -> None:
    """Spares Lightning the backward pass of a step: there is nothing behind the loss that it gets.

    A task that has a `backward` of its own keeps it. `give_backward` undoes it.
    """
    if type(task).backward is LightningModule.backward:
        vars(task).setdefault("backward", _nothing)


def give_backward(task: LightningModule) -> None:
    """The task has its backward pass again."""
    if vars(task).get("backward") is _nothing:
        del vars(task)["backward"]


def _nothing(*_: Any, **__: Any) -> None:
    pass


def returned(outputs: Sequence[Output], norms: Tensor) -> Any:
    """What Lightning gets: the mean loss, cut off from the weights, so that no ordinary gradient is ever made."""
    losses = [(output.loss.item(), output.weight) for output in outputs if output.loss is not None]
    finite = [(loss, weight) for loss, weight in losses if math.isfinite(loss)]
    value = sum(loss * weight for loss, weight in finite) / max(1, sum(weight for _, weight in finite))
    # One example with a NaN is left out of the step and must not end the run; weights that are NaN spoil everyone.
    if losses and not finite and not bool(torch.isfinite(norms).any()):
        value = math.nan
    loss = torch.full((), value, device=norms.device, requires_grad=True)
    last = outputs[-1].given if outputs else None
    return {**last, "loss": loss} if isinstance(last, Mapping) else loss
