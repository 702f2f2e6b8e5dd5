# pyright: reportUnknownMemberType=false
"""The control: the same task with weights that have learnt nothing, all of them or those of the top layers."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from pytorch_lightning import LightningModule
from torch import nn

from steelyard._untyped import named_modules

_STREAM = 2018
"""Sets this stream apart from every other one that is made of the seed of the run."""


@runtime_checkable
class Resettable(Protocol):
    """torch's own convention: a layer that knows how its weights begin."""

    def reset_parameters(self) -> None:
        """Draws the weights anew."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A copy of which the top layers have lost what they learnt.

    Attributes:
        share: Of the layers with weights that begin anew, above 0 to 1.
        lowest: The name of the lowest one of them.
        task: The copy.
    """

    share: float
    lowest: str
    task: LightningModule


def cascade(task: LightningModule, *, seed: int, stages: int) -> Iterator[Stage]:
    """Copies with more and more layers re-initialised, from the top down (Adebayo et al. 2018); the last one whole.

    Layers are taken in the order in which the task names them, which is nearly always that of the forward pass. The
    copies hold the task's own weights and those of the last copy, so that all of them take no more memory than that
    one. It draws from the global stream, so fork it around the loop.

    Args:
        task: Left as it is.
        seed: Of the run.
        stages: At most so many; fewer where there are fewer layers.
    """
    layers = [name for name, module in named_modules(task).items() if [*module.parameters(recurse=False)]]
    whole = reinitialised(task, seed=seed)
    sizes = sorted({max(1, round(len(layers) * stage / stages)) for stage in range(1, stages + 1)})
    for size in sizes:
        lost = layers[len(layers) - size :]
        twin = whole if size == len(layers) else _sharing(task, whole, lost)
        yield Stage(share=size / len(layers), lowest=lost[0], task=twin)


def _sharing(task: LightningModule, whole: LightningModule, layers: Sequence[str]) -> LightningModule:
    """A copy of the task with the weights of another one in these layers, and its own in all others."""
    held: dict[int, nn.Parameter] = {id(weight): weight for weight in task.parameters()}
    for name in layers:
        pairs = (part.get_submodule(name).parameters(recurse=False) for part in (task, whole))
        held |= {id(old): new for old, new in zip(*pairs, strict=True)}
    # What the memo knows is taken as it is.
    return copy.deepcopy(task, dict[int, Any](held))


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
