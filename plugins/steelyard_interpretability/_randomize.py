# pyright: reportUnknownMemberType=false
"""The control: the same task with weights that have learnt nothing."""

import copy
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from pytorch_lightning import LightningModule

_STREAM = 2018
"""Sets this stream apart from every other one that is made of the seed of the run."""


@runtime_checkable
class Resettable(Protocol):
    """torch's own convention: a layer that knows how its weights begin."""

    def reset_parameters(self) -> None:
        """Draws the weights anew."""
        ...


@torch.no_grad()
def reinitialised(task: LightningModule, *, seed: int) -> LightningModule:
    """A copy whose every layer begins anew; it draws from the global stream, so fork it around the call.

    Weights that no layer's `reset_parameters` reaches are shuffled: that keeps their scale and loses what they learnt.
    """
    twin = copy.deepcopy(task)
    # The run's own seed would bring back the weights that training began with, which the trained ones resemble.
    torch.manual_seed(int(np.random.default_rng([seed, _STREAM]).integers(2**62)))
    for module in twin.modules():
        if isinstance(module, Resettable):
            module.reset_parameters()
    for old, new in zip(task.parameters(), twin.parameters(), strict=True):
        if torch.equal(old, new):
            shuffled = torch.randperm(new.numel()).to(new.device)
            new.copy_(new.flatten()[shuffled].view_as(new))
    return twin
