"""The optimizer that a model brings along."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

from pytorch_lightning import LightningModule
from torch import nn
from torch.optim import Optimizer

from steelyard.problem import refuse


@runtime_checkable
class BringsOptimizer(Protocol):
    """A module that knows how it is to be trained, as a compiled Keras model does."""

    def compiled_optimizer(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        """The optimizer over these parameters."""
        ...


@final
@dataclass(frozen=True)
class Compiled:
    """Stands for the optimizer of the first module of the task that brings one."""

    def of(self, task: LightningModule) -> Callable[[Iterable[nn.Parameter]], Optimizer]:
        """What makes it.

        Raises:
            Refused: If no module brings one.
        """
        found = [module for module in task.modules() if isinstance(module, BringsOptimizer)]
        if not found:
            raise refuse("optimizer=compiled takes the model's own, and this model brings none", fix="optimizer=adam")
        return found[0].compiled_optimizer
