"""The live half of `interpretability.attribution`."""

from collections.abc import Iterator
from dataclasses import replace

from steelyard.attachment import Attachment
from steelyard.measurement import Artefact, Measurement, Status
from steelyard.runs import Run
from steelyard_interpretability._answer_picture import answer_picture
from steelyard_interpretability._explain import Study, study
from steelyard_interpretability._heard import heard
from steelyard_interpretability._layer_picture import layer_picture
from steelyard_interpretability._overview import overview
from steelyard_interpretability._rows import MEANINGS, curves, one_method
from steelyard_interpretability._samples import SPLIT, Empty
from steelyard_interpretability._side_by_side import picture
from steelyard_interpretability._table import by_layout, by_method, by_part
from steelyard_interpretability.attribution import Attribution


class AttributionAttachment(Attachment):
    """Explains after training; during training it does nothing."""

    def __init__(self, plugin: Attribution) -> None:
        self._plugin = plugin

    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """For every method deletion with its controls and completeness; the curves, a table, and the pictures.

        A single method's rows stand without its name; those of several say of which one they are.
        """
        plugin, several = self._plugin, len(self._plugin.methods) > 1
        try:
            found = study(run, plugin)
        except ValueError as error:
            if plugin.layer is None and not isinstance(error, Empty):
                raise
            yield _skipped(str(error), {})
            return
        note = self._note(found)
        rows: list[Measurement] = []
        for name in found.maps:
            rows += one_method(plugin, found, name, note=note, at={"method": name} if several else {})
        for name, reason in found.refused.items():
            rows.append(_skipped(f"{name} is refused: {reason}", {"method": name} if several else {}))
        if plugin.neuron:
            rows = [replace(row, meaning=row.meaning.replace("certainty", "the neuron's value")) for row in rows]
        yield from rows
        yield from curves(found, several=several)
        if several:
            yield by_method(rows, refused=found.refused)
        # The same place in a layer means another thing in another run.
        if found.judged and plugin.layer is None:
            yield by_part(run, found)
            layout = by_layout(run, found)
            if layout is not None:
                yield layout
        if found.shown is not None:
            by_layer = plugin.layer is not None and not plugin.neuron
            yield (layer_picture if by_layer else picture)(run, plugin, found.shown)
            if found.answers:
                yield answer_picture(run, found.shown, found.answers)
            if plugin.layer is None:
                yield from heard(run, found.shown)
        if found.judged and plugin.layer is None and run.adapter.modality == "table":
            yield overview(run, found)

    def _note(self, found: Study) -> str:
        done, chosen = len(found.common.decisions), len(found.samples.numbers)
        cut = "" if done == chosen else f"; the deadline left time for {done} of {chosen} examples"
        fewer = "" if bool(found.common.present.all()) else "up to "
        limits = f"; {found.limits}" if found.limits else ""
        return f"baseline {self._plugin.baseline}, {fewer}{found.counts[-1]} units{self._of()}{cut}{limits}"

    def _of(self) -> str:
        plugin = self._plugin
        if plugin.layer is None:
            return ""
        place = ", ".join(map(str, plugin.neuron))
        return (
            f"; of the value of neuron {place} in {plugin.layer}" if plugin.neuron else f" of the layer {plugin.layer}"
        )


def _skipped(reason: str, at: dict[str, str | float]) -> Measurement:
    return Measurement(
        name="deletion_gap",
        status=Status.SKIPPED,
        at=at,
        split=SPLIT,
        note=reason,
        meaning=MEANINGS["deletion_gap"],
    )
