"""The live half of `interpretability.drift`."""

import copy
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import final

from pytorch_lightning import LightningModule
from torch import Tensor

from steelyard.adapters.side_by_side import side_by_side
from steelyard.measurement import Artefact, Better, Measurement, Picture, Status
from steelyard.runs import Run
from steelyard.statistics import mean_interval
from steelyard_interpretability._agreement import rank_agreement
from steelyard_interpretability._asking import asked_of
from steelyard_interpretability._captions import spoken
from steelyard_interpretability._keeping import Keeper
from steelyard_interpretability._limits import fitting, left_of, planned
from steelyard_interpretability._randomize import reinitialised
from steelyard_interpretability._safe import explaining
from steelyard_interpretability._samples import SPLIT, Samples, collect, some
from steelyard_interpretability._side_by_side import shares
from steelyard_interpretability.drift import Drift
from steelyard_interpretability.methods.question import per_unit
from steelyard_interpretability.methods.registry import explain

COLUMNS = 4
"""Epochs in the picture, the last one included."""
MEANINGS = {
    "agreement": "how alike the explanations after this epoch and those of the finished model rank the parts of the "
    "input; 1 is the same order",
    "untrained_agreement": "the same of a copy that has learnt nothing: what the inputs alone bring about",
    "settled_epoch": "the epoch from which on the explanations are those of the finished model",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """Explanations over the epochs, on the CPU.

    Attributes:
        samples: The examples.
        decisions: Of the finished model.
        epochs: That were kept.
        maps: Of each epoch, shaped as the inputs, then of the finished model.
        agreements: Of each epoch with the finished model (M,).
        floor: Of an untrained copy with it (M,).
        limits: What `max_seconds`, the deadline and `max_memory_mb` took away; empty for nothing.
    """

    samples: Samples
    decisions: Tensor
    epochs: tuple[int, ...]
    maps: tuple[Tensor, ...]
    agreements: tuple[Tensor, ...]
    floor: Tensor
    limits: str


@final
class DriftAttachment(Keeper):
    """Copies weights while training, and explains afterwards."""

    def __init__(self, plugin: Drift) -> None:
        super().__init__(most=plugin.checkpoints)
        self._plugin = plugin

    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """The agreement of each epoch, the floor, the epoch from which on it holds, and a picture."""
        try:
            if not self.kept:
                raise ValueError("no training was watched, so there are no weights of earlier epochs")
            with explaining(run.task):
                found = self.story(run)
        except ValueError as error:
            for name, meaning in MEANINGS.items():
                yield Measurement(name=name, status=Status.SKIPPED, note=str(error), meaning=meaning, split=SPLIT)
            return
        floor, floor_ends = mean_interval(found.floor, low=-1, high=1)
        # An explanation that the weights do not change has nothing to settle to.
        blind = floor_ends is not None and floor_ends[1] >= self._plugin.settled
        status = Status.INVALID if blind else Status.MEASURED
        failed = (
            "control failed: an untrained copy's explanations agree as well (untrained_agreement); " if blind else ""
        )
        for epoch, rows in zip(found.epochs, found.agreements, strict=True):
            mean, ends = mean_interval(rows, low=-1, high=1)
            cut = f"; {found.limits}" if found.limits else ""
            note = f"{failed}Spearman's rank correlation of {self._plugin.method}, mean over examples{cut}"
            yield _row("agreement", mean, ends, len(rows), status, note, {"epoch": epoch})
        yield _row("untrained_agreement", floor, floor_ends, len(found.floor), Status.MEASURED, "control")
        yield self._settled(found, status, failed)
        if self._plugin.pictures:
            yield self._picture(run, found)

    def story(self, run: Run) -> Story:
        """Everything explained.

        Raises:
            ValueError: If the method would be wrong on this model.
        """
        plugin = self._plugin
        started = time.monotonic()
        samples = collect(run, count=plugin.samples, baseline=plugin.baseline)
        one = asked_of(run, some(run, samples, [0]))
        passes = fitting(one.pose(run.task, one.decisions), max_memory_mb=plugin.max_memory_mb)

        def pilot(places: Sequence[int], effort: float) -> None:
            few = asked_of(run, some(run, samples, places), at_once=passes.at_once, effort=effort)
            explain(plugin.method, few.pose(run.task, few.decisions))

        left = left_of(run, max_seconds=plugin.max_seconds, started=started)
        plan = planned(
            pilot,
            count=len(samples.numbers),
            extra=0,
            max_seconds=left.seconds,
            started=started,
            times=len(self.kept) + 2,
            what=left.what,
        )
        samples = some(run, samples, plan.places)
        settings = {"at_once": passes.at_once, "effort": plan.effort}
        asked = asked_of(run, samples, **settings)
        question = asked.pose(run.task, asked.decisions)
        final = explain(plugin.method, question)
        units = per_unit(final, question)

        def of(task: LightningModule) -> Tensor:
            # Weights of another epoch may embed another way.
            seen = replace(run, task=task, _predictions={})
            theirs = some(seen, collect(seen, count=plugin.samples, baseline=plugin.baseline), plan.places)
            return explain(plugin.method, asked_of(seen, theirs, **settings).pose(task, asked.decisions))

        twin = copy.deepcopy(run.task)
        maps: list[Tensor] = []
        for one in self.kept:
            twin.load_state_dict(one.weights)
            maps.append(of(twin))
        untrained = of(reinitialised(run.task, seed=run.seed).eval())

        def agreement(other: Tensor) -> Tensor:
            return rank_agreement(units, per_unit(other, question), present=question.present)

        floor = agreement(untrained)
        if not len(floor):
            raise ValueError("every explanation is constant: there are no ranks to compare")
        return Story(
            samples=samples,
            decisions=asked.decisions.cpu(),
            epochs=tuple(one.epoch for one in self.kept),
            maps=tuple(part.cpu() for part in (*maps, final)),
            agreements=tuple(agreement(part) for part in maps),
            floor=floor,
            limits="; ".join(words for words in (plan.words, passes.words) if words),
        )

    def _settled(self, found: Story, status: Status, failed: str) -> Measurement:
        means = [float(rows.mean()) if len(rows) else -1.0 for rows in found.agreements]
        late = [place for place, mean in enumerate(means) if mean < self._plugin.settled]
        first = late[-1] + 1 if late else 0
        words = f"{failed}agreement of at least {self._plugin.settled:g} from there on; looked at after epoch "
        words += ", ".join(map(str, found.epochs))
        if first == len(means):
            return Measurement(
                name="settled_epoch",
                status=Status.SKIPPED,
                note=f"none of them: {words}",
                split=SPLIT,
                meaning=MEANINGS["settled_epoch"],
            )
        return Measurement(
            name="settled_epoch",
            value=float(found.epochs[first]),
            status=status,
            better=Better.LOWER,
            unit="epochs",
            count=len(found.samples.numbers),
            split=SPLIT,
            note=words,
            meaning=MEANINGS["settled_epoch"],
        )

    def _picture(self, run: Run, found: Story) -> Picture:
        places = range(min(self._plugin.pictures, len(found.samples.numbers)))
        shown = some(run, found.samples, places)
        final = found.maps[-1]
        columns = [at for at in _spread(len(found.epochs), COLUMNS - 1) if not found.maps[at].equal(final)]
        names = [*(f"epoch {found.epochs[place]}" for place in columns), "finished"]
        maps = [found.maps[place] for place in (*columns, -1)]
        told = [run.adapter.told(run.adapter.scoring.said(found.decisions[place])) for place in places]
        png = side_by_side(
            run.adapter,
            shown.batch,
            [shares(part[: len(places)]) for part in maps],
            names=names,
            titles=[f"says {word[:50]}" for word in told],
            decisions=found.decisions[: len(places)],
        )
        return Picture(
            name="epochs",
            title=f"{spoken(self._plugin.method).capitalize()} of the same examples over the epochs, each map in "
            "shares of all that it gives to the example",
            png=png,
            alt=f"{len(places)} examples, each with its attributions at {', '.join(names)}.",
            split=SPLIT,
        )


def _spread(count: int, most: int) -> Sequence[int]:
    """At most so many places, the first one among them."""
    return [*dict.fromkeys(place * count // most for place in range(most))]


def _row(
    name: str,
    value: float,
    ends: tuple[float, float] | None,
    count: int,
    status: Status,
    note: str,
    at: dict[str, str | float] | None = None,
) -> Measurement:
    return Measurement(
        name=name,
        value=value,
        status=status,
        interval=ends,
        count=count,
        at=at or {},
        split=SPLIT,
        note=note,
        meaning=MEANINGS[name],
    )
