"""The live half of `interpretability.concepts`."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from steelyard.adapters import ClassScoring
from steelyard.attachment import Attachment
from steelyard.measurement import Artefact, Measurement, Status
from steelyard.runs import Run
from steelyard_interpretability._asking import asked_of
from steelyard_interpretability._concept_numbers import MEANINGS, Line, Scored, told
from steelyard_interpretability._concept_picture import picture
from steelyard_interpretability._concept_rows import inside, outside
from steelyard_interpretability._limits import LATE, fitting
from steelyard_interpretability._safe import explaining
from steelyard_interpretability._samples import SPLIT, Samples, evenly_spaced
from steelyard_interpretability.concepts import Concepts
from steelyard_interpretability.measures.concept import Weighed, weighed
from steelyard_interpretability.methods.layers import chosen_layer, layer_of, seen_at, watched

CHUNK = 32
FEW = 10
"""Examples below which nothing is said of a set, or of a decision."""
_STREAM = 1711
"""Sets this random stream apart from every other one that is made of the same seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Groups:
    """Which explained examples belong to which decision."""

    names: tuple[str, ...]
    places: tuple[Tensor, ...]


@final
class ConceptsAttachment(Attachment):
    """Looks at a layer after training; during training it does nothing."""

    def __init__(self, plugin: Concepts) -> None:
        self._plugin = plugin

    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """Accuracy of each concept with its control, scores with theirs, and a picture of them."""
        try:
            with explaining(run.task):
                found = self.scored(run)
        except ValueError as error:
            for name, meaning in MEANINGS.items():
                yield Measurement(name=name, status=Status.SKIPPED, note=str(error), meaning=meaning, split=SPLIT)
            return
        yield from told(found, least=self._plugin.least_accuracy)
        if found.lines:
            yield picture(found, least=self._plugin.least_accuracy)

    def scored(self, run: Run) -> Scored:
        """All concepts.

        Raises:
            ValueError: If the model has no layer that can be looked at, or the split too few examples.
        """
        plugin = self._plugin
        explained, pool = self._parts(run)
        first = _samples(run, explained[:2])
        one = asked_of(run, first)
        start = one.pose(run.task, one.decisions)
        passes = fitting(start, max_memory_mb=plugin.max_memory_mb)
        name = chosen_layer(start) if plugin.layer is None else plugin.layer
        layer = layer_of(start, name)
        decisions, gradients = self._looked(run, explained, name, at_once=passes.at_once)

        def features(batch: Any) -> Tensor:
            with watched(layer) as outputs, torch.no_grad():
                run.adapter.outputs(run.task, batch)
            return _pooled(outputs[-1], run.adapter.present(batch), mean=True)

        def of(numbers: Sequence[int]) -> Tensor:
            parts = [numbers[start : start + passes.at_once] for start in range(0, len(numbers), passes.at_once)]
            return torch.cat([features(run.batch(SPLIT, part)) for part in parts])

        common = of(pool)
        groups = _groups(run, decisions, most=plugin.decisions)
        made = Scored(layer=name, groups=groups.names, counts=tuple(map(len, groups.places)))
        like = run.batch(SPLIT, pool[:1])
        for at, words in enumerate(plugin.sets):
            if at and run.deadline is not None and time.monotonic() > run.deadline:
                made.refused[words] = LATE
                continue
            try:
                members = inside(run, words, pool)
                if members is None:
                    theirs = features(outside(run, words, like, most=plugin.rows))
                    concept, others = np.arange(len(theirs)) + len(pool), np.arange(len(pool))
                    every = torch.cat([common, theirs])
                else:
                    places = {number: place for place, number in enumerate(pool)}
                    concept = np.array([places[number] for number in members], dtype=np.int64)
                    others, every = np.setdiff1d(np.arange(len(pool)), concept), common
                made.lines[words] = self._line(run, words, every, gradients, concept, others, groups)
            except ValueError as error:
                made.refused[words] = str(error)
        return made

    def _looked(self, run: Run, explained: Sequence[int], name: str, *, at_once: int) -> tuple[Tensor, Tensor]:
        """Decisions on the explained examples (N, ...), and the gradients of their scores in the layer (N, D)."""
        decisions: list[Tensor] = []
        gradients: list[Tensor] = []
        for begin in range(0, len(explained), CHUNK):
            samples = _samples(run, explained[begin : begin + CHUNK])
            asked = asked_of(run, samples, at_once=at_once)
            seen = seen_at(asked.pose(run.task, asked.decisions), name)
            gradients.append(_pooled(seen.gradients, run.adapter.present(samples.batch), mean=False))
            decisions.append(asked.decisions.cpu())
        single = isinstance(run.adapter.scoring, ClassScoring)
        return torch.cat(decisions) if single else torch.zeros(len(explained)), torch.cat(gradients)

    def _line(
        self,
        run: Run,
        words: str,
        features: Tensor,
        gradients: Tensor,
        concept: NDArray[np.int64],
        others: NDArray[np.int64],
        groups: _Groups,
    ) -> Line:
        plugin = self._plugin
        # Where a set lies on a disk changes no number: the last part of its name is what counts.
        stream = np.random.default_rng([run.seed, _STREAM, *words.rpartition("/")[2].encode()])
        if len(concept) > plugin.rows:
            concept = stream.choice(concept, plugin.rows, replace=False)
        size = min(len(concept), len(others) // 2)
        if size < FEW:
            raise ValueError(
                f"{len(concept)} examples show the concept and {len(others)} others stand beside them; "
                f"at least {FEW} and {2 * FEW} are needed"
            )
        centred = features - features.mean(dim=0)
        products, cross = centred @ centred.T, gradients @ centred.T
        lengths = gradients.square().sum(dim=1).sqrt()

        def fits(places: NDArray[np.int64] | None) -> Weighed:
            return weighed(
                products,
                cross,
                lengths,
                concept=places,
                others=others,
                size=size,
                fits=plugin.counterparts,
                stream=stream,
            )

        return Line(
            size=size,
            ours=fits(concept),
            randoms=tuple(fits(None) for _ in range(plugin.random_concepts)),
            groups=groups.places,
        )

    def _parts(self, run: Run) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Places of the explained examples, and of others to draw sets from."""
        dataset = run.loader(SPLIT).dataset
        assert isinstance(dataset, Sized)
        population = len(dataset)
        explained = evenly_spaced(population, count=min(self._plugin.samples, population // 3))
        rest = sorted({*range(population)} - {*explained})
        pool = tuple(rest[place] for place in evenly_spaced(len(rest), count=self._plugin.examples))
        if len(explained) < 2 or len(pool) < 3 * FEW:
            raise ValueError(
                f"the validation split has {population} examples, too few to draw sets from beside those explained"
            )
        return explained, pool


def _samples(run: Run, numbers: Sequence[int]) -> Samples:
    batch = run.batch(SPLIT, numbers)
    inputs = run.adapter.inputs(run.task, batch).detach().clone()
    return Samples(
        numbers=tuple(numbers),
        batch=batch,
        inputs=inputs,
        targets=run.adapter.targets(batch),
        baseline=torch.zeros_like(inputs[0]),
        population=len(numbers),
    )


def _groups(run: Run, decisions: Tensor, *, most: int) -> _Groups:
    """The explained examples of each frequent decision; all together where decisions are no classes."""
    if not isinstance(run.adapter.scoring, ClassScoring):
        return _Groups(names=("all",), places=(torch.arange(len(decisions)),))
    counts = Counter(int(decision) for decision in decisions)
    order = sorted(counts, key=lambda kind: (-counts[kind], kind))
    chosen = [kind for kind in order[:most] if counts[kind] >= FEW]
    if not chosen:
        raise ValueError(f"no decision is made on at least {FEW} of the {len(decisions)} explained examples")
    return _Groups(
        names=tuple(run.adapter.told([kind]) for kind in chosen),
        places=tuple((decisions.cpu() == kind).nonzero()[:, 0] for kind in chosen),
    )


def _pooled(values: Tensor, present: Tensor | None, *, mean: bool) -> Tensor:
    """One row for each example (N, D) in double precision: what a layer gives, over the places of a text or picture.

    Args:
        values: (N, D), (N, places, D) of a text, (N, D, height, width) of a picture; anything else is laid flat.
        present: Which places are no padding (N, places).
        mean: Whether to take the mean over the places, or the sum.
    """
    wide = values.detach().double()
    if present is not None and wide.dim() == 3 and wide.shape[1] == present.shape[1]:
        there = present[:, :, None].to(wide)
        total = (wide * there).sum(dim=1)
        return (total / there.sum(dim=1).clamp(min=1) if mean else total).cpu()
    if wide.dim() == 4:
        return (wide.mean(dim=(2, 3)) if mean else wide.sum(dim=(2, 3))).cpu()
    return wide.flatten(1).cpu()
