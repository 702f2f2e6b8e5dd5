"""The live half of `interpretability.influence`."""

import copy
import time
from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from pytorch_lightning import LightningModule
from torch import Tensor

from steelyard.adapters import ClassScoring
from steelyard.measurement import Artefact, Better, Measurement, Status, Table
from steelyard.runs import Run
from steelyard.statistics import mean_interval
from steelyard_interpretability._asking import asked_of
from steelyard_interpretability._keeping import Keeper, Kept
from steelyard_interpretability._last_layer import ends_of, products, squares
from steelyard_interpretability._limits import fitting, left_of
from steelyard_interpretability._safe import explaining
from steelyard_interpretability._samples import collect, evenly_spaced
from steelyard_interpretability.influence import Influence

FROM, OF = "train", "val"
ROWS = 256
PILOT, LEAST = 32, 2
"""Training examples that are looked at first, to learn what one costs, and those that are looked at at least."""
DRAWS = 4
"""Random examples for each that is named."""
_STREAM = 2020
"""Sets this random stream apart from every other one that is made of the same seed."""
MEANINGS = {
    "step_gap": "how much more a training step on the examples that are named would speak for the decision than one on "
    "random examples of the same labels, over all weights; 0 is guessing",
    "same_label": "share of the training examples that spoke most for a decision whose label is that decision",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """Who influenced whom.

    Attributes:
        numbers: Places of the training examples in their split (N,).
        labels: Of these examples (N,).
        chances: That the trained model gives to these labels (N,).
        explained: Places of the explained examples in theirs (M,).
        decisions: On these (M,).
        truths: Of these (M,).
        influence: Of each training example on each decision (M, N).
        own: Of each training example on itself (N,).
        note: Which weights were looked at, and what the limits took away.
        until: `time.monotonic()` at which the control ends early; None for never.
    """

    numbers: tuple[int, ...]
    labels: Tensor
    chances: Tensor
    explained: tuple[int, ...]
    decisions: Tensor
    truths: Tensor
    influence: Tensor
    own: Tensor
    note: str
    until: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Looked:
    """What one model says; as in `Traced`."""

    influence: Tensor
    own: Tensor
    labels: Tensor
    chances: Tensor


@final
class InfluenceAttachment(Keeper):
    """Copies weights while training, and looks at gradients afterwards."""

    def __init__(self, plugin: Influence) -> None:
        super().__init__(most=plugin.checkpoints)
        self._plugin = plugin

    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """The control, whether like speaks for like, who spoke for whom, and who is at odds with the rest."""
        try:
            if not isinstance(run.adapter.scoring, ClassScoring):
                raise ValueError("the task does not choose one of several classes")
            with explaining(run.task):
                found = self.traced(run)
                gaps = self._gaps(run, found)
        except ValueError as error:
            for name, meaning in MEANINGS.items():
                yield Measurement(name=name, status=Status.SKIPPED, note=str(error), meaning=meaning)
            return
        gap, interval = mean_interval(gaps, low=-1, high=1)
        holds = interval is not None and interval[0] > 0
        status = Status.MEASURED if holds else Status.INVALID
        failed = (
            "" if holds else "control failed: random examples of the same labels would have done as well (step_gap); "
        )
        same = (found.labels[self._first(found)] == found.decisions[:, None]).double().mean(dim=1)
        share, spread = mean_interval(same, low=0, high=1)
        rows = {
            "step_gap": (
                gap,
                interval,
                Better.HIGHER,
                "control: difference of what two steps do to the loss, over the sum of both; paired",
            ),
            "same_label": (share, spread, None, "mean over decisions"),
        }
        counts = {"step_gap": len(gaps), "same_label": len(same)}
        for name, (value, between, better, words) in rows.items():
            yield Measurement(
                name=name,
                value=value,
                status=status,
                better=better,
                interval=between,
                count=counts[name],
                split=FROM,
                note=f"{failed}{words}; {found.note}",
                meaning=MEANINGS[name],
            )
        yield self._named(run, found)
        if self._plugin.suspects:
            yield self._suspects(run, found)

    def traced(self, run: Run) -> Traced:
        """Everything that the kept weights say; the trained weights alone where none were kept.

        Raises:
            ValueError: If the logits are not what a linear layer gives.
        """
        plugin, adapter = self._plugin, run.adapter
        started = time.monotonic()
        explained = evenly_spaced(_population(run, OF), count=plugin.samples)
        first = asked_of(run, collect(run, count=1, baseline="zero"))
        passes = fitting(first.pose(run.task, first.decisions), max_memory_mb=plugin.max_memory_mb)
        size = min(ROWS, passes.at_once)
        every = evenly_spaced(_population(run, FROM), count=plugin.examples)
        batch = run.batch(OF, explained)
        with torch.no_grad():
            decisions: Tensor = adapter.scoring.decisions(adapter.outputs(run.task, batch), adapter.targets(batch))

        def looked(task: LightningModule) -> _Looked:
            ours = ends_of(task, adapter, batch, decisions)
            parts: list[_Looked] = []
            # A part at a time: what the last layer gets may be wide.
            for start in range(0, len(numbers), size):
                some = run.batch(FROM, numbers[start : start + size])
                theirs = ends_of(task, adapter, some, adapter.targets(some))
                found = products(ours, theirs), squares(theirs)
                parts.append(_Looked(influence=found[0], own=found[1], labels=theirs.labels, chances=theirs.chances))
            return _Looked(
                influence=torch.cat([part.influence for part in parts], dim=1),
                own=torch.cat([part.own for part in parts]),
                labels=torch.cat([part.labels for part in parts]),
                chances=torch.cat([part.chances for part in parts]),
            )

        watched = self.kept
        left = left_of(run, max_seconds=plugin.max_seconds, started=started)
        numbers = every[:: max(1, len(every) // PILOT)]
        begun = time.monotonic()
        if left.seconds is not None:
            looked(run.task)
        each = (time.monotonic() - begun) * (1 + max(1, len(watched))) / len(numbers)
        fits = (
            len(every) if left.seconds is None else int((started + left.seconds - time.monotonic()) / max(each, 1e-9))
        )
        numbers = tuple(every[at] for at in evenly_spaced(len(every), count=max(LEAST, fits)))
        cut = [f"{left.what} left time for {len(numbers)} of {len(every)} training examples"] * (
            len(numbers) < len(every)
        )
        cut += [passes.words] * (size < ROWS and bool(passes.words))
        trained = looked(run.task)
        kept = watched or [Kept(epoch=0, rate=1.0, weights={})]
        twin = copy.deepcopy(run.task) if watched else run.task
        influence = torch.zeros(len(explained), len(numbers), dtype=torch.double)
        own = torch.zeros(len(numbers), dtype=torch.double)
        for one in kept:
            if one.weights:
                twin.load_state_dict(one.weights)
            found = looked(twin) if one.weights else trained
            influence += one.rate * found.influence
            own += one.rate * found.own
        epochs = ", ".join(str(one.epoch) for one in watched)
        return Traced(
            numbers=numbers,
            labels=trained.labels,
            chances=trained.chances,
            explained=explained,
            decisions=decisions.cpu(),
            truths=adapter.targets(batch).cpu(),
            influence=influence,
            own=own,
            until=None if left.seconds is None else started + left.seconds,
            note="; ".join(
                [
                    f"weights after epoch {epochs}"
                    if epochs
                    else "the finished weights alone: no training was watched",
                    *cut,
                ]
            ),
        )

    def _first(self, found: Traced) -> Tensor:
        """Columns of those that spoke most for each decision (M, top)."""
        top = min(self._plugin.top, len(found.numbers))
        return found.influence.argsort(dim=1, descending=True, stable=True)[:, :top]

    def _gaps(self, run: Run, found: Traced) -> Tensor:
        """By how much more the step on those named lowers the loss than one on others: (M,), from -1 to 1."""
        adapter = run.adapter
        stream = np.random.default_rng([run.seed, _STREAM])
        weights = [weight for weight in run.task.parameters() if weight.requires_grad]

        def step(split: str, numbers: Sequence[int], labels: Tensor | None = None) -> Tensor:
            batch = run.batch(split, numbers)
            wanted = adapter.targets(batch) if labels is None else labels.to(run.device)
            loss = torch.nn.functional.cross_entropy(adapter.outputs(run.task, batch), wanted)
            grads: Any = torch.autograd.grad(loss, weights, allow_unused=True)
            return torch.cat([grad.flatten() for grad in grads if grad is not None]).double()

        gaps: list[Tensor] = []
        for row, first in enumerate(self._first(found)):
            if row >= LEAST and found.until is not None and time.monotonic() > found.until:
                break
            goal = step(OF, [found.explained[row]], found.decisions[row : row + 1])
            named = goal @ step(FROM, [found.numbers[int(column)] for column in first])
            # With the same labels, or the label alone would make the difference.
            alike = [(found.labels == found.labels[column]).nonzero()[:, 0].numpy() for column in first]
            drawn = [int(stream.choice(columns)) for columns in alike * DRAWS]
            other = goal @ step(FROM, [found.numbers[column] for column in drawn])
            gaps.append((named - other) / (named.abs() + other.abs()).clamp(min=1e-30))
        return torch.stack(gaps).cpu()

    def _named(self, run: Run, found: Traced) -> Table:
        told = run.adapter.told
        top = self._first(found).shape[1]
        order = found.influence.argsort(dim=1, descending=True, stable=True)
        rows: list[list[str | float | int]] = []
        for row, number in enumerate(found.explained):
            total = float(found.influence[row].abs().sum()) or 1.0
            sides = (("for", order[row][:top]), ("against", order[row].flip(0)[:top]))
            for side, columns in sides:
                for column in map(int, columns):
                    value = float(found.influence[row, column])
                    # The last ones speak against it only where their influence is below 0.
                    if (value > 0) is (side == "for") and value:
                        rows.append(
                            [
                                number,
                                told([int(found.decisions[row])]),
                                told([int(found.truths[row])]),
                                side,
                                found.numbers[column],
                                told([int(found.labels[column])]),
                                round(value / total, 4),
                            ]
                        )
        return Table(
            name="influences",
            title="Training examples that spoke most for and against a decision",
            columns=[
                "validation example",
                "decision",
                "truth",
                "speaks",
                "training example",
                "its label",
                "share of all influence",
            ],
            rows=rows,
            split=FROM,
        )

    def _suspects(self, run: Run, found: Traced) -> Table:
        order = found.own.argsort(descending=True, stable=True)[: self._plugin.suspects]
        total = float(found.own.sum()) or 1.0
        return Table(
            name="suspects",
            title="Training examples with the largest influence on themselves: mislabelled, or unlike the others",
            columns=["training example", "its label", "certainty of the trained model", "share of all influence"],
            rows=[
                [
                    found.numbers[column],
                    run.adapter.told([int(found.labels[column])]),
                    round(float(found.chances[column]), 4),
                    round(float(found.own[column]) / total, 4),
                ]
                for column in map(int, order)
            ],
            split=FROM,
        )


def _population(run: Run, split: str) -> int:
    dataset = run.loader(split).dataset
    assert isinstance(dataset, Sized)
    return len(dataset)
