# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false
"""Typed names for functions of torch whose own annotations are incomplete."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset


def named_modules(module: nn.Module) -> dict[str, nn.Module]:
    """Name -> module, the module itself under ""."""
    return dict(module.named_modules())


def fork_torch() -> AbstractContextManager[Any]:
    """`torch.random.fork_rng` over the CPU and every CUDA device."""
    return torch.random.fork_rng(devices=range(torch.cuda.device_count()))


def sampler_of(loader: DataLoader[Any]) -> object:
    """What decides the order of a loader."""
    return loader.sampler


def like(loader: DataLoader[Any], dataset: Dataset[Any]) -> DataLoader[Any]:
    """An unshuffled loader over `dataset` with the batches and the collation of `loader`.

    Its generator keeps it off the global random stream: a DataLoader draws a seed for its workers at every iteration,
    also when it has none.
    """
    return DataLoader(dataset, batch_size=loader.batch_size, collate_fn=loader.collate_fn, generator=torch.Generator())


def chosen(loader: DataLoader[Any], numbers: Sequence[int], *, size: int | None = None) -> DataLoader[Any]:
    """The examples with these places in the data set of `loader`, collated as one batch, or `size` at a time."""
    return DataLoader(
        Subset(loader.dataset, [*numbers]),
        batch_size=len(numbers) if size is None else size,
        collate_fn=loader.collate_fn,
        generator=torch.Generator(),
    )
