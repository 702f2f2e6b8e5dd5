"""The live half of `stability=certified`."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch
from torch import Tensor

from steelyard.adapters import ClassScoring
from steelyard.attachment import Attachment
from steelyard.measurement import Artefact, Better, Measurement, Status
from steelyard.report.words import counted
from steelyard.runs import Run
from steelyard.statistics import proportion
from steelyard_stability._proved import proved
from steelyard_stability._smoothing import Certificate, certify
from steelyard_stability._staging import SPLIT, Stage, chosen, stages, unit
from steelyard_stability.certified import Certified

CHUNK = 64
"""Examples in memory at once."""
FEWEST, MOST, VALUES = 100, 1000, 1 << 18
"""Draws from a generator at a time: what a mebibyte holds, which a core keeps near, within the first two."""
MEANINGS = {
    "certified": "share of the test examples on which nothing within this radius changes the smoothed decision",
    "certified_accuracy": "the same, and the smoothed decision is right",
    "smooth_accuracy": "how right the smoothed decisions are",
    "agreement": "share of the test examples on which the smoothed model decides as the plain one does",
    "draws": "noisy copies of an example that its certificate took, on average",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One example, smoothed.

    Attributes:
        certificate: Of the smoothed decision.
        right: Whether the smoothed decision is right.
        agrees: Whether the plain model decides so, too.
    """

    certificate: Certificate
    right: bool
    agrees: bool


@final
class CertifiedAttachment(Attachment):
    """Certifies after training; during training it does nothing."""

    def __init__(self, plugin: Certified) -> None:
        self._plugin = plugin

    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """Shares without labels first, then accuracy."""
        plugin = self._plugin
        obstacle = "" if isinstance(run.adapter.scoring, ClassScoring) else "smoothing counts classes, one an example"
        found: list[Example] = []
        for example in () if obstacle else self._examples(run):
            if example is None:
                obstacle = "the inputs are whole numbers, to which no noise can be added"
                break
            found.append(example)
        if obstacle:
            for name, meaning in MEANINGS.items():
                yield Measurement(name=name, status=Status.SKIPPED, note=obstacle, meaning=meaning, split=SPLIT)
            return
        for row in _rows(plugin, found, _note(run, plugin, len(found))):
            yield replace(row, meaning=MEANINGS[row.name], at_unit=run.adapter.unit if row.at else "")
        if plugin.bounds:
            yield from proved(run, plugin, until=self._until(run))

    def _until(self, run: Run) -> float | None:
        limits = [run.deadline] if run.deadline is not None else []
        if self._plugin.max_seconds is not None:
            limits.append(time.monotonic() + self._plugin.max_seconds)
        return min(limits, default=None)

    def _examples(self, run: Run) -> Iterator[Example | None]:
        plugin = self._plugin
        until, begun = self._until(run), False
        for stage in stages(run, chosen(run, count=plugin.examples), size=CHUNK, spread=unit(run)):
            if not stage.inputs.is_floating_point():
                yield None
                return
            for row in range(len(stage.numbers)):
                if begun and until is not None and time.monotonic() >= until:
                    return
                begun = True
                yield _smoothed(stage, row, plugin, seed=run.seed)


def _smoothed(stage: Stage, row: int, plugin: Certified, *, seed: int) -> Example:
    draw = _Draws(stage, row, plugin, seed=seed)
    own = int(draw(plugin.selection).bincount().argmax())
    certificate = certify(
        lambda more: int((draw(more) == own).sum()),
        looks=plugin.looks,
        radii=plugin.radii,
        sigma=plugin.sigma,
        alpha=plugin.alpha,
    )
    target = int(stage.run.adapter.targets(stage.batch)[row])
    return Example(certificate=certificate, right=own == target, agrees=own == int(stage.decisions[row]))


class _Draws:
    """Decisions on noisy copies of one example, from a generator of its own."""

    def __init__(self, stage: Stage, row: int, plugin: Certified, *, seed: int) -> None:
        # A unit of the scene may be a standard deviation; here it is raw.
        self._stage, self._row, self._plugin = replace(stage, spread=None), row, plugin
        # Hashed, so that the examples of neighbouring seeds have nothing in common.
        words = np.random.SeedSequence([seed, stage.numbers[row]]).generate_state(2, np.uint32)
        self._generator = torch.Generator().manual_seed(int(words[0]) << 31 ^ int(words[1]))

    @torch.no_grad()
    def __call__(self, count: int) -> Tensor:
        """The next `count` decisions (count,)."""
        stage, plugin = self._stage, self._plugin
        rows = torch.full((min(plugin.batch, count),), self._row, device=stage.inputs.device)
        return decisions(
            lambda inputs: stage.ask(inputs, rows[: len(inputs)]),
            stage.inputs[self._row],
            count=count,
            sigma=plugin.sigma,
            generator=self._generator,
            batch=plugin.batch,
        )


def decisions(
    ask: Callable[[Tensor], Tensor], clean: Tensor, *, count: int, sigma: float, generator: torch.Generator, batch: int
) -> Tensor:
    """The decisions on noisy copies of an example (count,), on the processor.

    The noise of each copy is drawn anew, and depends on the generator and `count` alone.

    Args:
        ask: Inputs (b, ...) -> logits (b, C).
        clean: The example (...).
        count: Copies.
        sigma: Of the noise.
        generator: Of the example, on the processor.
        batch: Rows that the model sees at once, at most.
    """
    block = min(count, max(FEWEST, min(MOST, VALUES // max(1, clean.numel()))))
    # Drawn in place: of a small model more time goes into the noise and fresh memory than into the answers.
    noise = torch.empty(block, *clean.shape)
    found: list[Tensor] = []
    for first in range(0, count, block):
        drawn = noise[: min(block, count - first)].normal_(std=sigma, generator=generator)
        inputs = drawn.to(clean).add_(clean)
        found += [ask(part).argmax(dim=1) for part in inputs.tensor_split(-(-len(inputs) // batch))]
    return torch.cat(found).cpu()


def _rows(plugin: Certified, found: list[Example], note: str) -> Iterator[Measurement]:
    count = len(found)
    for radius in plugin.radii:
        held = [example for example in found if example.certificate.radius >= radius]
        right = sum(example.right for example in held)
        for name, number in (("certified", len(held)), ("certified_accuracy", right)):
            yield proportion(
                name, number, count, better=Better.HIGHER, split=SPLIT, at={"radius": float(radius)}, note=note
            )
    for name, number in (
        ("smooth_accuracy", sum(example.right for example in found)),
        ("agreement", sum(example.agrees for example in found)),
    ):
        yield proportion(name, number, count, better=Better.HIGHER, split=SPLIT, note=note)
    yield Measurement(
        name="draws",
        value=sum(example.certificate.draws for example in found) / count,
        better=Better.LOWER,
        count=count,
        split=SPLIT,
        note=f"at most {plugin.looks[-1]}, beside {plugin.selection} that choose the class",
    )


def _note(run: Run, plugin: Certified, count: int) -> str:
    wanted = len(chosen(run, count=plugin.examples))
    less = "" if count == wanted else f"; time was up after {count} of {wanted} examples"
    return (
        f"smoothed by Gaussian noise of {plugin.sigma:g} {run.adapter.unit}; any change of at most the radius in "
        f"length; a certificate is wrong with probability {plugin.alpha:g} at most (one-sided Clopper-Pearson, "
        f"{counted(len(plugin.looks), 'look')}, up to {plugin.looks[-1]} draws); of the smoothed model, in exact "
        f"arithmetic{less}"
    )
