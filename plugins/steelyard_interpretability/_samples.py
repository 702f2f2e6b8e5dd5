"""Which validation examples are explained, and against which baseline."""

from collections.abc import Sized
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from steelyard.runs import Run

SPLIT = "val"


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Examples of the validation split, on the task's device.

    Attributes:
        numbers: Their places in the split.
        inputs: (N, ...) raw.
        targets: (N,).
        baseline: The input that says nothing, shaped as one example.
        population: Examples in the split.
    """

    numbers: tuple[int, ...]
    inputs: Tensor
    targets: Tensor
    baseline: Tensor
    population: int


def evenly_spaced(population: int, *, count: int) -> tuple[int, ...]:
    """`count` places spread over the split, no place twice; all of them if there are not more."""
    count = min(count, population)
    return tuple((2 * place + 1) * population // (2 * count) for place in range(count))


def collect(run: Run, *, count: int, baseline: Literal["mean", "zero"]) -> Samples:
    """One pass over the validation split."""
    loader = run.loader(SPLIT)
    assert isinstance(loader.dataset, Sized)
    population = len(loader.dataset)
    numbers = evenly_spaced(population, count=count)
    inputs: list[Tensor] = []
    targets: list[Tensor] = []
    total = torch.zeros(())
    first = 0
    for raw in loader:
        batch = run.to_device(raw)
        some = run.adapter.inputs(batch).detach()
        total = total.to(some.device) + some.double().sum(dim=0)
        here = [number - first for number in numbers if first <= number < first + len(some)]
        inputs.append(some[here].clone())
        targets.append(run.adapter.targets(batch)[here])
        first += len(some)
    chosen = torch.cat(inputs)
    mean = (total / population).to(chosen.dtype)
    return Samples(
        numbers=numbers,
        inputs=chosen,
        targets=torch.cat(targets),
        baseline=mean if baseline == "mean" else torch.zeros_like(mean),
        population=population,
    )
