# pyright: reportUnknownMemberType=false
"""The live half of `stability=outliers`."""

from collections.abc import Iterator
from typing import final

import torch

from steelyard.adapters import ClassScoring
from steelyard.attachment import Attachment
from steelyard.measurement import Artefact, Better, Measurement, Status
from steelyard.problem import Refused
from steelyard.report.words import counted
from steelyard.runs import Run
from steelyard_stability._ood import Floats, auroc, energy, mahalanobis, nearest, unsure
from steelyard_stability._seen import STRONGEST, Seen, Strange, far_noise, seen, shuffled
from steelyard_stability.corruptions._families import family_for
from steelyard_stability.corruptions._text import Rules
from steelyard_stability.outliers import Outliers

TEST, FAMILIAR = "test", "val"
MEANING = "how surely a strange input looks stranger than a test example by this score; 1 is always, 0.5 is chance"


@final
class OutliersAttachment(Attachment):
    """Looks at familiar, test and strange inputs."""

    def __init__(self, plugin: Outliers) -> None:
        self._plugin = plugin

    @torch.no_grad()
    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """The area under the curve of every score against every sort of strange input, the worst first."""
        if not isinstance(run.adapter.scoring, ClassScoring):
            yield _skipped("the task does not choose one of several classes, so there are no logits of classes")
            return
        try:
            sorts = self._sorts(run)
        except Refused as refused:
            yield _skipped(str(refused))
            return
        most = self._plugin.examples
        familiar, test = seen(run, FAMILIAR, examples=most), seen(run, TEST, examples=most)
        known = counted(len(familiar.targets), "familiar example")
        note = f"{known} of the validation split; the interval is DeLong's"
        rows: list[Measurement] = []
        own = self._scores(test, familiar)
        for sort, strange in sorts.items():
            other = self._scores(seen(run, TEST, examples=most, strange=strange), familiar)
            for score, values in own.items():
                value, interval = auroc(other[score], values)
                rows.append(
                    Measurement(
                        name="auroc",
                        value=value,
                        interval=interval,
                        better=Better.HIGHER,
                        count=2 * len(values),
                        at={"score": score, "against": sort},
                        split=TEST,
                        note=note,
                        meaning=MEANING,
                    )
                )
        yield from rows

    def _sorts(self, run: Run) -> dict[str, Strange]:
        sorts: dict[str, Strange] = {"far_noise": far_noise(run), "shuffled": shuffled(run)}
        if self._plugin.against:
            family = family_for(run, split=TEST, rules=Rules())
            for kind in self._plugin.against:
                sorts[kind] = lambda batch, numbers, kind=kind: (
                    family.corrupted(batch, kind=kind, severity=STRONGEST, numbers=numbers).batch
                )
        return sorts

    def _scores(self, these: Seen, familiar: Seen) -> dict[str, Floats]:
        known = familiar.features
        return {
            "max_softmax": unsure(these.logits),
            "energy": energy(these.logits),
            "mahalanobis": mahalanobis(these.features, known=known, labels=familiar.targets),
            "nearest": nearest(these.features, known=known, neighbours=self._plugin.neighbours),
        }


def _skipped(reason: str) -> Measurement:
    return Measurement(name="auroc", status=Status.SKIPPED, note=reason, meaning=MEANING)
