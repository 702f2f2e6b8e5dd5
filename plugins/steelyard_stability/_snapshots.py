# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""What a training can go back to, in memory."""

import copy
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from operator import is_
from typing import Any

import torch
from pytorch_lightning import Trainer
from torch import Tensor, nn

from steelyard._torch_private import buffers_of


class Buffers:
    """Keeps the buffers of a task and puts them back, also those that a task replaces instead of filling.

    Args:
        task: Whose.
        watch: Whether to see which of them are finite.
    """

    def __init__(self, task: nn.Module, *, watch: bool = True) -> None:
        owners = [(path, module) for path, module in task.named_modules()]
        self._places = [
            (path, module, name)
            for path, module in owners
            for name, value in buffers_of(module).items()
            if value is not None
        ]
        self._dictionaries = [(buffers_of(module), name) for _, module, name in self._places]
        # Some masks are infinite by nature.
        self._watched = [
            at
            for at, value in enumerate(self.now())
            if watch and value.is_floating_point() and value.numel() and bool(torch.isfinite(value).all())
        ]
        self._planned: list[Tensor] = []
        self._groups: list[list[int]] = []
        self._shapes: list[torch.Size] = []
        self._kept: list[Tensor] = []

    def now(self) -> list[Tensor]:
        """As they are."""
        found = [dictionary[name] for dictionary, name in self._dictionaries]
        return [value for value in found if value is not None]

    def watched(self) -> list[Tensor]:
        """Those that were finite when training began."""
        now = self.now()
        return [now[at] for at in self._watched]

    def name(self) -> str:
        """The first of them that is not finite; "" where all are."""
        for at, value in zip(self._watched, self.watched(), strict=True):
            if not bool(torch.isfinite(value).all()):
                path, _, name = self._places[at]
                return ".".join(filter(None, (path, name)))
        return ""

    @torch.no_grad()
    def keep(self) -> None:
        """Remembers all of them, in one piece for each format and device: one copy of many is quicker than many."""
        now = self.now()
        if len(now) != len(self._planned) or not all(map(is_, now, self._planned)):
            self._plan(now)
        self._kept = [joined([now[at] for at in group]) for group in self._groups]

    def restore(self) -> None:
        """Puts back what `keep` remembered."""
        values: dict[int, Tensor] = {}
        for group, kept in zip(self._groups, self._kept, strict=True):
            parts = kept.split([self._shapes[at].numel() for at in group])
            values.update((at, part.view(self._shapes[at])) for at, part in zip(group, parts, strict=True))
        self.put([values[at] for at in range(len(values))])

    @torch.no_grad()
    def put(self, values: Sequence[Tensor]) -> None:
        """Fills each buffer, or replaces it where its shape has changed."""
        for (_, module, name), value in zip(self._places, values, strict=True):
            now: Tensor = getattr(module, name)
            if (now.shape, now.dtype, now.device) == (value.shape, value.dtype, value.device):
                now.copy_(value)
            else:
                setattr(module, name, value.clone())

    def _plan(self, now: list[Tensor]) -> None:
        kinds: dict[tuple[Any, Any], list[int]] = {}
        for at, value in enumerate(now):
            kinds.setdefault((value.dtype, value.device), []).append(at)
        self._planned, self._groups = now, [*kinds.values()]
        self._shapes = [value.shape for value in now]


def joined(tensors: Sequence[Tensor]) -> Tensor:
    """All of their values in one dimension, copied."""
    # Single values, such as counters of batches, need not be made flat first.
    return torch.cat(flat(tensors)) if any(tensor.dim() for tensor in tensors) else torch.stack([*tensors])


def flat(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Each in one dimension."""
    return [tensor if tensor.dim() == 1 else tensor.reshape(-1) for tensor in tensors]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A healthy moment.

    Attributes:
        step: Optimizer steps before it.
        weights: Each weight that an optimizer has, and a copy of its values.
        buffers: Copies.
        optimizers: Their states.
        schedulers: Their states.
    """

    step: int
    weights: Sequence[tuple[Tensor, Tensor]]
    buffers: Sequence[Tensor]
    optimizers: Sequence[dict[str, Any]]
    schedulers: Sequence[dict[str, Any]]


class Ring:
    """The last few healthy moments.

    Args:
        size: How many.
    """

    def __init__(self, size: int) -> None:
        self._kept: deque[Snapshot] = deque(maxlen=size)
        self._back = False

    def keep(self, trainer: Trainer, buffers: Buffers) -> None:
        """Takes a snapshot; the oldest gives way."""
        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
        weights: dict[int, Tensor] = {id(weight): weight for group in groups for weight in group["params"]}
        made = Snapshot(
            step=trainer.global_step,
            weights=[(weight, weight.detach().clone()) for weight in weights.values()],
            buffers=[buffer.detach().clone() for buffer in buffers.now()],
            optimizers=[copy.deepcopy(optimizer.state_dict()) for optimizer in trainer.optimizers],
            schedulers=[copy.deepcopy(config.scheduler.state_dict()) for config in trainer.lr_scheduler_configs],
        )
        self._kept.append(made)
        self._back = False

    @torch.no_grad()
    def restore(self, trainer: Trainer, buffers: Buffers) -> int:
        """Goes back to the newest; asked again before another was taken, to the one before it.

        Returns:
            The steps before that moment.
        """
        if self._back and len(self._kept) > 1:
            self._kept.pop()
        self._back = True
        kept = self._kept[-1]
        for weight, value in kept.weights:
            weight.copy_(value)
        buffers.put(kept.buffers)
        for optimizer, state in zip(trainer.optimizers, kept.optimizers, strict=True):
            optimizer.load_state_dict(copy.deepcopy(state))
        for config, state in zip(trainer.lr_scheduler_configs, kept.schedulers, strict=True):
            config.scheduler.load_state_dict(copy.deepcopy(state))
        return kept.step
