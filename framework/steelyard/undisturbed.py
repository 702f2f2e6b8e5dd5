# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Trying a training step out without leaving a trace."""

import random
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from steelyard import randomness


@contextmanager
def undisturbed(task: LightningModule) -> Generator[None]:
    """Afterwards random streams, buffers, flags, counters and metrics are as before; nothing is logged meanwhile."""
    # Tensors in plain attributes are the states of torchmetrics, lists those of tasks that gather outputs.
    states = [(module, dict(vars(module))) for module in task.modules()]
    contents = [(value, _copy(value)) for _, state in states for value in state.values()]
    contents += [(buffer, _copy(buffer)) for buffer in task.buffers()]
    task.log = _nothing
    try:
        with randomness.forked():
            yield
    finally:
        for module, state in states:
            _restore(module, state)
        with torch.no_grad():
            for value, content in contents:
                _refill(value, content)


def reseed() -> None:
    """Puts every global stream to the same place, so that two tries draw the same; only inside `undisturbed`."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


def _nothing(*_: Any, **__: Any) -> None:
    pass


def _copy(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    return value.copy() if isinstance(value, list | dict | set) else None


def _refill(value: Any, content: Any) -> None:
    if isinstance(value, Tensor):
        value.copy_(content)
    elif isinstance(value, list):
        value[:] = content
    elif isinstance(value, dict | set):
        value.clear()
        value.update(content)


def _restore(module: nn.Module, state: dict[str, Any]) -> None:
    for name in vars(module).keys() - state.keys():
        del vars(module)[name]
    vars(module).update(state)
