"""The live half of `stability=drift`."""

from collections.abc import Iterator
from typing import final

from steelyard.adapters import ClassScoring
from steelyard.attachment import Attachment
from steelyard.measurement import Artefact, Better, Measurement, Status
from steelyard.report.words import counted
from steelyard.runs import Run
from steelyard_stability._ood import Floats
from steelyard_stability._reliability import softmax
from steelyard_stability._seen import Seen, far_noise, seen
from steelyard_stability._two_samples import Gap, directions, gap
from steelyard_stability.drift import VIEWS, Drift

KNOWN, NEW = "val", "test"
MEANINGS = {
    "gap": "how far what the model makes of the test examples lies from what it makes of the validation examples; "
    "0 is the same, 1 has nothing in common",
    "alarms": "views in which the test examples differ from the validation examples by more than chance and by enough "
    "to matter",
}


@final
class DriftAttachment(Attachment):
    """Compares the two splits after training; during training it does nothing."""

    def __init__(self, plugin: Drift) -> None:
        self._plugin = plugin

    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """The gap of every view, and how many of them are an alarm."""
        if not isinstance(run.adapter.scoring, ClassScoring):
            reason = "the task does not choose one of several classes, so there are no probabilities of classes"
            for name, meaning in MEANINGS.items():
                yield Measurement(name=name, status=Status.SKIPPED, note=reason, meaning=meaning)
            return
        most = self._plugin.examples
        known, new = (seen(run, split, examples=most) for split in (KNOWN, NEW))
        noise = seen(run, NEW, examples=most, strange=far_noise(run))
        found, control = (self._gaps(known, these, seed=run.seed) for these in (new, noise))
        doubt = "" if self._alarms(control) else "control failed: noise in place of the test examples was no alarm"
        status = Status.INVALID if doubt else Status.MEASURED
        count = len(known.targets) + len(new.targets)
        beside = f"against {counted(len(known.targets), 'validation example')}"
        for view, one in found.items():
            yield Measurement(
                name="gap",
                value=one.value,
                status=status,
                better=Better.LOWER,
                interval=one.interval,
                count=count,
                split=NEW,
                at={"view": view},
                note=_joined(doubt, self._words(one), beside),
                meaning=MEANINGS["gap"],
            )
        alarms = self._alarms(found)
        yield Measurement(
            name="alarms",
            value=float(len(alarms)),
            status=status,
            better=Better.LOWER,
            count=len(found),
            split=NEW,
            note=_joined(
                doubt,
                ", ".join(alarms) or f"none of {', '.join(found)}",
                f"an alarm takes p of at most {self._plugin.alpha / VIEWS:g} and a gap of at least "
                f"{self._plugin.least:g}",
            ),
            meaning=MEANINGS["alarms"],
        )

    def _gaps(self, known: Seen, new: Seen, *, seed: int) -> dict[str, Gap]:
        through = directions(known.features, count=self._plugin.directions, seed=seed)
        pairs: dict[str, tuple[Floats, Floats]] = {
            "answers": (softmax(known.logits), softmax(new.logits)),
            "features": (known.features @ through, new.features @ through),
        }
        return {
            view: gap(one, other, permutations=self._plugin.permutations, seed=seed)
            for view, (one, other) in pairs.items()
        }

    def _alarms(self, gaps: dict[str, Gap]) -> list[str]:
        plugin = self._plugin
        return [view for view, one in gaps.items() if one.chance <= plugin.alpha / VIEWS and one.value >= plugin.least]

    def _words(self, one: Gap) -> str:
        return (
            f"p = {one.chance:.3g} by {self._plugin.permutations} permutations, in which the gap is "
            f"{one.usual:.2g} in the median"
        )


def _joined(*words: str) -> str:
    return "; ".join(word for word in words if word)
