"""The live half of `interpretability.attribution`."""

from collections.abc import Iterator

from steelyard.attachment import Attachment
from steelyard.measurement import Artefact, Measurement, Status
from steelyard.runs import Run
from steelyard_interpretability._explain import Study, study
from steelyard_interpretability._rows import MEANINGS, curves, one_method
from steelyard_interpretability._samples import SPLIT
from steelyard_interpretability._side_by_side import picture
from steelyard_interpretability._table import by_method, by_part
from steelyard_interpretability.attribution import Attribution


class AttributionAttachment(Attachment):
    """Explains after training; during training it does nothing."""

    def __init__(self, plugin: Attribution) -> None:
        self._plugin = plugin

    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """For every method deletion with its controls and completeness; the curves, a table, and the pictures.

        A single method's rows stand without its name; those of several say of which one they are.
        """
        plugin, found = self._plugin, study(run, self._plugin)
        note, several = self._note(found), len(plugin.methods) > 1
        rows: list[Measurement] = []
        for name in found.maps:
            rows += one_method(plugin, found, name, note=note, at={"method": name} if several else {})
        for name, reason in found.refused.items():
            rows.append(
                Measurement(
                    name="deletion_gap",
                    status=Status.SKIPPED,
                    at={"method": name} if several else {},
                    split=SPLIT,
                    note=f"{name} is refused: {reason}",
                    meaning=MEANINGS["deletion_gap"],
                )
            )
        yield from rows
        yield from curves(found, several=several)
        if several:
            yield by_method(rows, refused=found.refused)
        if found.judged:
            yield by_part(run, found)
        if found.shown is not None:
            yield picture(run, plugin, found.shown)

    def _note(self, found: Study) -> str:
        done, chosen = len(found.common.decisions), len(found.samples.numbers)
        cut = "" if done == chosen else f"; the deadline left time for {done} of {chosen} examples"
        fewer = "" if bool(found.common.present.all()) else "up to "
        limits = f"; {found.limits}" if found.limits else ""
        return f"baseline {self._plugin.baseline}, {fewer}{found.counts[-1]} units{cut}{limits}"
