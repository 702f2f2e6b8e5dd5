"""Which validation examples are explained, and against which baseline."""

import math
from collections.abc import Sequence, Sized
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from steelyard.runs import Run

SPLIT = "val"


class Empty(ValueError):
    """There is no example to explain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Examples of the validation split, on the task's device.

    Attributes:
        numbers: Their places in the split.
        batch: All of them, as the data module collates them.
        inputs: Their continuous view (N, ...).
        targets: (N,) or (N, ...).
        baseline: The input that says nothing, shaped as one example.
        population: Examples in the split.
        background: Inputs of examples that stand for all (B, ...); None where nobody asked for them.
    """

    numbers: tuple[int, ...]
    batch: Any
    inputs: Tensor
    targets: Tensor
    baseline: Tensor
    population: int
    background: Tensor | None = None


def evenly_spaced(population: int, *, count: int) -> tuple[int, ...]:
    """`count` places spread over the split, no place twice; all of them if there are not more."""
    count = min(count, population)
    return tuple((2 * place + 1) * population // (2 * count) for place in range(count))


def some(run: Run, samples: Samples, places: Sequence[int]) -> Samples:
    """Some of the examples, by their places among the samples."""
    rows = torch.tensor(places, device=samples.inputs.device)
    return replace(
        samples,
        numbers=tuple(samples.numbers[place] for place in places),
        batch=run.adapter.take(samples.batch, rows),
        inputs=samples.inputs[rows],
        targets=samples.targets[rows],
    )


def others(run: Run, samples: Samples, numbers: Sequence[int]) -> Samples:
    """Other examples of the split, by their places in it, against the same baseline."""
    batch = run.batch(SPLIT, numbers)
    inputs = run.adapter.inputs(run.task, batch).detach().clone()
    same = inputs.shape[1:] == samples.inputs.shape[1:]
    return replace(
        samples,
        numbers=tuple(numbers),
        batch=batch,
        inputs=inputs,
        targets=run.adapter.targets(batch),
        # Where lengths differ, the baseline is the same at every place.
        baseline=samples.baseline if same else samples.baseline[:1].expand(inputs.shape[1:]),
    )


def collect(run: Run, *, count: int, baseline: Literal["mean", "zero"], background: int = 0) -> Samples:
    """One pass over the validation split.

    Args:
        run: Left as it was found.
        count: Examples to explain.
        baseline: Which.
        background: Examples that stand for all; 0 for none.

    Raises:
        Empty: If the split has no example.
    """
    loader = run.loader(SPLIT)
    assert isinstance(loader.dataset, Sized)
    population = len(loader.dataset)
    if not population:
        raise Empty("the validation split has no example, so there is nothing to explain")
    numbers = evenly_spaced(population, count=count)
    batch = run.batch(SPLIT, numbers)
    inputs = run.adapter.inputs(run.task, batch).detach().clone()
    mean = _mean(run).to(inputs)
    return Samples(
        numbers=numbers,
        batch=batch,
        inputs=inputs,
        targets=run.adapter.targets(batch),
        baseline=(mean if baseline == "mean" else torch.zeros_like(mean)).expand(inputs.shape[1:]),
        population=population,
        background=_background(run, evenly_spaced(population, count=background)) if background else None,
    )


def _background(run: Run, numbers: Sequence[int]) -> Tensor:
    return run.adapter.inputs(run.task, run.batch(SPLIT, numbers)).detach().clone()


def _mean(run: Run) -> Tensor:
    """The mean input of the split, element by element; over all places, without padding, where sequences differ."""
    sums: dict[tuple[int, ...], Tensor] = {}
    counts: dict[tuple[int, ...], int] = {}
    for raw in run.loader(SPLIT):
        batch = run.to_device(raw)
        view, present = run.adapter.inputs(run.task, batch).detach().double(), run.adapter.present(batch)
        view = view if present is None else view[present]
        shape = tuple(view.shape[1:])
        sums[shape] = sums.get(shape, torch.zeros(shape, dtype=view.dtype, device=view.device)) + view.sum(dim=0)
        counts[shape] = counts.get(shape, 0) + len(view)
    if len(sums) == 1:
        ((shape, total),) = sums.items()
        return total / counts[shape]
    places = sum(count * math.prod(shape[:-1]) for shape, count in counts.items())
    return torch.stack([total.flatten(end_dim=-2).sum(dim=0) for total in sums.values()]).sum(dim=0) / places
