# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""The live half of `privacy=group_norm`."""

import math
from collections.abc import Iterator
from typing import Any, final

import torch
from torch import nn

from steelyard.attachment import Attachment
from steelyard.draft import Draft
from steelyard.measurement import Artefact, Measurement
from steelyard.problem import Problem
from steelyard.runs import Run
from steelyard_privacy.group_norm import GroupNormalisation

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
LAZY = (nn.LazyBatchNorm1d, nn.LazyBatchNorm2d, nn.LazyBatchNorm3d)


def batch_norms(task: nn.Module) -> dict[str, Any]:
    """Path -> batch normalisation; a layer that is used in several places has several."""
    return {
        name: module for name, module in task.named_modules(remove_duplicate=False) if isinstance(module, BATCH_NORMS)
    }


def problems(task: nn.Module) -> Iterator[Problem]:
    """What is replaced, as a note; a layer that does not know its channels yet is an obstacle."""
    found = batch_norms(task)
    for name, module in task.named_modules():
        if isinstance(module, LAZY):
            yield Problem(
                f"{name} is {type(module).__name__}, which does not know its channels yet",
                f"torch.nn.{type(module).__name__.removeprefix('Lazy')} with its number of channels",
            )
    names = ", ".join(found)
    told = f"group normalisation takes the place of {names}" if found else "there is no batch normalisation to replace"
    yield Problem(told, level="note")


def attach(plugin: GroupNormalisation, draft: Draft) -> "GroupNormAttachment":
    """The attachment; the layers are replaced child by child, so that the task stays the same object."""
    made: dict[int, nn.GroupNorm] = {}
    found = batch_norms(draft.task)
    for name, module in found.items():
        if id(module) not in made:
            made[id(module)] = group_norm(module, groups=plugin.groups)
        parent, _, own = name.rpartition(".")
        setattr(draft.task.get_submodule(parent), own, made[id(module)])
    return GroupNormAttachment(tuple(found))


def group_norm(norm: Any, *, groups: int) -> nn.GroupNorm:
    """A group normalisation with the channels, scales, shifts, mode and flags of a batch normalisation."""
    channels: int = norm.num_features
    affine = norm.weight is not None
    buffer = next(norm.buffers(), torch.empty(0))
    like = norm.weight if affine else buffer if buffer.is_floating_point() else torch.empty(0, device=buffer.device)
    made = nn.GroupNorm(
        math.gcd(groups, channels), channels, eps=norm.eps, affine=affine, device=like.device, dtype=like.dtype
    )
    if affine:
        with torch.no_grad():
            for mine, theirs in ((made.weight, norm.weight), (made.bias, norm.bias)):
                mine.copy_(theirs)
                mine.requires_grad_(theirs.requires_grad)
    return made.train(norm.training)


@final
class GroupNormAttachment(Attachment):
    """Says what was replaced."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names

    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """How many layers look at one example at a time now."""
        yield Measurement(
            name="replaced",
            value=float(len(self._names)),
            unit="layers",
            note=", ".join(self._names) or "there was no batch normalisation",
            meaning="How many layers that mixed the examples of a batch were replaced",
        )
