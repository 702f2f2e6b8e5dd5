# pyright: reportUnknownMemberType=false
"""Gradients of the layer that gives the logits, in closed form."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from steelyard._untyped import named_modules
from steelyard.adapters import Adapter


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """The two factors of each example's gradient of the last layer, on the CPU in double precision.

    Attributes:
        slopes: Of the loss by the logits (N, C): probabilities minus the label.
        features: What the layer gets (N, D), and a 1 where it has a bias.
        labels: What the losses are of (N,).
        chances: Of the labels (N,).
    """

    slopes: Tensor
    features: Tensor
    labels: Tensor
    chances: Tensor


@torch.no_grad()
def ends_of(task: LightningModule, adapter: Adapter, batch: Any, labels: Tensor) -> Ends:
    """The factors for the examples of a batch.

    Args:
        task: Chooses one of several classes.
        adapter: Of its modality.
        batch: On its device.
        labels: The classes whose cross-entropy is looked at (N,).

    Raises:
        ValueError: If the logits are not what a linear layer gives.
    """
    with _last(task) as seen:
        logits: Tensor = adapter.outputs(task, batch)
    if not seen or seen[-1][1].shape != logits.shape or not torch.equal(seen[-1][1], logits):
        raise ValueError("the logits are not what the model's last linear layer gives")
    layer, _, given = seen[-1]
    features = given.double()
    if [*layer.parameters(recurse=False)][1:]:
        features = torch.cat([features, torch.ones_like(features[:, :1])], dim=1)
    chances = logits.double().softmax(dim=1)
    rows = torch.arange(len(labels), device=labels.device)
    slopes = chances.clone()
    slopes[rows, labels] -= 1
    return Ends(slopes=slopes.cpu(), features=features.cpu(), labels=labels.cpu(), chances=chances[rows, labels].cpu())


def products(ours: Ends, theirs: Ends) -> Tensor:
    """The products of the examples' gradients of the last layer: (N, M)."""
    return (ours.slopes @ theirs.slopes.T) * (ours.features @ theirs.features.T)


def squares(ends: Ends) -> Tensor:
    """Each example's gradient times itself: (N,)."""
    return ends.slopes.square().sum(dim=1) * ends.features.square().sum(dim=1)


@contextmanager
def _last(task: nn.Module) -> Generator[list[tuple[nn.Linear, Tensor, Tensor]]]:
    """Linear layers with what they give and get, call by call."""
    seen: list[tuple[nn.Linear, Tensor, Tensor]] = []

    def keep(layer: nn.Module, given: tuple[Any, ...], output: Tensor) -> None:
        assert isinstance(layer, nn.Linear)
        seen.append((layer, output.detach(), given[0].detach()))

    layers = [layer for layer in named_modules(task).values() if isinstance(layer, nn.Linear)]
    handles = [layer.register_forward_hook(keep) for layer in layers]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
