"""The live half of `compute=freeze`."""

from collections.abc import Iterator
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import final

from torch import nn

from steelyard.attachment import Attachment
from steelyard.measurement import Artefact, Measurement
from steelyard.problem import Problem
from steelyard.runs import Run
from steelyard_compute.freeze import Freeze


def frozen(plugin: Freeze, task: nn.Module) -> dict[str, nn.Parameter]:
    """The weights that the patterns name."""
    return {
        name: weight
        for name, weight in task.named_parameters()
        if _matches(name, plugin.weights) and not _matches(name, plugin.but)
    }


def problems(plugin: Freeze, task: nn.Module) -> Iterator[Problem]:
    """Patterns that match nothing, and a model of which nothing is left to train."""
    names = [name for name, _ in task.named_parameters()]
    for field, patterns in (("weights", plugin.weights), ("but", plugin.but)):
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in names):
                near = (*get_close_matches(pattern, names, n=1, cutoff=0.0), "*")[0]
                yield Problem(f"{field}: no weight is called {pattern!r}", fix=f"compute.freeze.{field}=['{near}']")
    still = {name for name, weight in task.named_parameters() if weight.requires_grad} - {*frozen(plugin, task)}
    if not still and names:
        yield Problem("every weight is frozen: nothing is left to train", fix=f"compute.freeze.but=['{names[-1]}']")


@final
class FreezeAttachment(Attachment):
    """Says what is left to train."""

    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """The frozen part of the weights."""
        sizes = [(weight.numel(), weight.requires_grad) for weight in run.task.parameters()]
        whole = sum(size for size, _ in sizes)
        still = sum(size for size, trained in sizes if not trained)
        yield Measurement(
            name="frozen_fraction",
            value=still / whole,
            count=whole,
            note=f"{still:,} of {whole:,} numbers",
            meaning="share of the model's numbers that training leaves as they are",
        )


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
