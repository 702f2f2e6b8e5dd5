"""The live half of `compute.prune`."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from steelyard.attachment import Attachment
from steelyard.measurement import Artefact, Better, Measurement, Status
from steelyard.runs import Run
from steelyard_compute._rewritten import losses, predictions
from steelyard_compute._rounded_layers import packed, plain_size, prunable
from steelyard_compute.prune import Prune

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Sparse:
    """Weights of which many are 0.

    Attributes:
        weights: With the zeros in place, as torch multiplies by them.
    """

    weights: Tensor

    @property
    def bytes(self) -> int:
        """As it would be stored: a bit for each weight says whether it is there, and the numbers that are."""
        left = int(self.weights.count_nonzero())
        return math.ceil(self.weights.numel() / 8) + left * self.weights.element_size()

    def values(self) -> Tensor:
        """The weights."""
        return self.weights

    def rows(self, numbers: Tensor) -> Tensor:
        """The rows with these numbers."""
        return self.weights[numbers]


def threshold(weights: list[Tensor], fraction: float) -> float:
    """The absolute value up to which weights go, so that `fraction` of all go.

    Args:
        weights: Of all layers.
        fraction: Between 0 and 1.
    """
    sizes = torch.cat([weight.flatten().abs() for weight in weights])
    return float(sizes.kthvalue(max(1, round(fraction * len(sizes)))).values)


@final
class PruneAttachment(Attachment):
    """Puts layers without small weights in the place of the own ones while it looks, and takes them away again.

    Args:
        plugin: The settings.
    """

    def __init__(self, plugin: Prune) -> None:
        self._plugin = plugin

    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """For each fraction what is lost, and the memory of what is left."""
        weights = prunable(run.task)
        if not weights:
            yield Measurement(name="size", status=Status.SKIPPED, unit="MiB", note="no layer of a kind that is pruned")
            return
        for fraction in self._plugin.fractions:
            cut = threshold(weights, fraction)
            swap = packed(run.task, lambda weight, cut=cut: Sparse(weight.where(weight.abs() > cut, 0)))
            at: dict[str, str | float] = {"fraction": fraction}
            yield Measurement(
                name="size",
                value=swap.size / MIB,
                better=Better.LOWER,
                unit="MiB",
                at=at,
                note=f"{plain_size(run.task) / MIB:.4g} MiB as trained; a mask and the numbers that are left, "
                f"beside what is not pruned",
                meaning="memory of everything that the model would have to keep",
            )
            yield from losses(run, predictions(run, swap), at)
