# pyright: reportUnknownMemberType=false
"""What a model answers, and what its last layer gets, on familiar and on strange inputs."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from steelyard.runs import Run
from steelyard_stability._ood import Floats
from steelyard_stability.corruptions._asking import first_of
from steelyard_stability.corruptions._dice import Dice

STRONGEST = 5
Strange = Callable[[Any, Sequence[int]], Any]
"""A batch and the places of its examples -> a batch of strange inputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was seen of N examples.

    Attributes:
        logits: Of C classes (N, C).
        features: The inputs of the last linear layer (N, D); the logits where a model has no such layer.
        targets: (N,).
    """

    logits: Floats
    features: Floats
    targets: NDArray[np.int64]


@torch.no_grad()
def seen(run: Run, split: str, *, examples: int, strange: Strange | None = None) -> Seen:
    """The first examples of a split through the model.

    Args:
        run: Of a task that chooses one of several classes.
        split: Which.
        examples: At most.
        strange: What is done to them before.
    """
    adapter, first = run.adapter, 0
    logits: list[Tensor] = []
    features: list[Tensor] = []
    targets: list[Tensor] = []
    for raw in run.loader(split):
        batch = first_of(run, run.to_device(raw), examples - first)
        wanted = adapter.targets(batch)
        numbers = range(first, first + len(wanted))
        with _last_inputs(run.task) as given:
            found = adapter.outputs(run.task, batch if strange is None else strange(batch, numbers))
        # A model without such a layer is judged by its logits.
        fits = bool(given) and given[-1].dim() == 2 and len(given[-1]) == len(wanted)
        logits.append(found.double().cpu())
        features.append((given[-1] if fits else found).double().cpu())
        targets.append(wanted.cpu())
        first += len(wanted)
        if first >= examples:
            break
    return Seen(
        logits=torch.cat(logits).numpy(), features=torch.cat(features).numpy(), targets=torch.cat(targets).numpy()
    )


def far_noise(run: Run) -> Strange:
    """Noise in the range of the data, or three times as wide as each example where there is none."""
    adapter = run.adapter

    def strange(batch: Any, numbers: Sequence[int]) -> Any:
        inputs = adapter.inputs(run.task, batch)
        dice = Dice(run.seed, kind="far_noise", severity=STRONGEST, numbers=numbers)
        if adapter.bounds is not None:
            low, high = adapter.bounds
            return adapter.replace(batch, dice.uniform(*inputs.shape[1:], low=low, high=high).to(inputs))
        # Example by example, so that the batch does not matter.
        spread = torch.stack([row.double().std(correction=0) for row in inputs]).to(inputs)
        wide = spread.reshape(-1, *[1] * (inputs.dim() - 1))
        return adapter.replace(batch, 3 * wide * dice.normal(*inputs.shape[1:]).to(inputs))

    return strange


def shuffled(run: Run) -> Strange:
    """Each example with its values in another order."""
    adapter = run.adapter

    def strange(batch: Any, numbers: Sequence[int]) -> Any:
        inputs = adapter.inputs(run.task, batch)
        flat = inputs.flatten(start_dim=1)
        dice = Dice(run.seed, kind="shuffled", severity=STRONGEST, numbers=numbers)
        order = dice.order(flat.shape[1]).to(flat.device)
        return adapter.replace(batch, flat.gather(1, order).reshape(inputs.shape))

    return strange


@contextmanager
def _last_inputs(task: nn.Module) -> Generator[list[Tensor]]:
    """What the last linear layer gets, call by call."""
    layers = [layer for layer in task.modules() if isinstance(layer, nn.Linear)]
    given: list[Tensor] = []

    def keep(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        del layer
        given.append(inputs[0].detach())

    handles = [layer.register_forward_pre_hook(keep) for layer in layers[-1:]]
    try:
        yield given
    finally:
        for handle in handles:
            handle.remove()
