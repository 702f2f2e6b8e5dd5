# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false
"""Typed names for functions of torch whose own annotations are incomplete."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset


def named_modules(module: nn.Module) -> dict[str, nn.Module]:
    """Name -> module, the module itself under ""."""
    return dict(module.named_modules())


@contextmanager
def fork_torch() -> Generator[None]:
    """Puts the random streams of torch on the CPU and on every CUDA device back afterwards.

    CUDA that nobody has used yet is not woken for that: a process that has woken it can fork none that uses it. Its
    streams then begin where the seed of the stream on the CPU says, as they would have without this.
    """
    awake = torch.cuda.is_initialized()
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if awake else ()):
            yield
    finally:
        if not awake and torch.cuda.device_count():
            torch.cuda.manual_seed_all(torch.initial_seed())


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
