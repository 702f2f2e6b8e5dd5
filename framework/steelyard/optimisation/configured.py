"""What `configure_optimizers` of our tasks gives to Lightning."""

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal

from pytorch_lightning import LightningModule
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from steelyard.optimisation.compiled import Compiled
from steelyard.optimisation.schedules import Schedule
from steelyard.problem import Refused, refuse

MakeOptimizer = Compiled | Callable[[Iterable[nn.Parameter]], Optimizer]
"""Made by `_partial_: true`, or the one that the model was compiled with."""
MakeScheduler = Schedule | Callable[[Optimizer], LRScheduler]
"""One of ours, which learns how many steps the run has, or one of PyTorch's, made by `_partial_: true`."""


def configured(
    task: LightningModule,
    *,
    optimizer: MakeOptimizer,
    scheduler: MakeScheduler | None,
    interval: Literal["epoch", "step"],
) -> Any:
    """The optimizer over the parameters that require a gradient, and its schedule.

    Args:
        task: Whose parameters.
        optimizer: Called with them; `Compiled` stands for that of the model.
        scheduler: Called with the optimizer; nothing (also an empty node) for a constant learning rate.
        interval: What a scheduler of PyTorch's counts; ours count steps.

    Raises:
        Refused: If either does not take its options, or a schedule of ours has no end to look forward to.
    """
    try:
        make = optimizer.of(task) if isinstance(optimizer, Compiled) else optimizer
        made = make([weight for weight in task.parameters() if weight.requires_grad])
    except Refused:
        raise
    except (TypeError, ValueError) as error:
        raise refuse(f"the optimizer cannot be made: {error}", fix="optimizer=adam") from error
    if not scheduler:
        return made
    if not isinstance(scheduler, Schedule):
        return {"optimizer": made, "lr_scheduler": {"scheduler": scheduler(made), "interval": interval}}
    steps = task.trainer.estimated_stepping_batches
    if not math.isfinite(steps) or steps < 1:
        raise refuse(
            f"{type(scheduler).__name__} spans the whole run, and this one has no end in steps",
            fix="trainer.max_epochs=30",
        )
    return {"optimizer": made, "lr_scheduler": {"scheduler": scheduler(made, steps=int(steps)), "interval": "step"}}
