"""The live half of `interpretability.faithfulness`."""

from collections.abc import Iterator

from steelyard.attachment import Attachment
from steelyard.measurement import Artefact, Measurement, Status
from steelyard.runs import Run
from steelyard_interpretability._masks import by_masks
from steelyard_interpretability._numbers import SAYS, numbers
from steelyard_interpretability._panel import pictures
from steelyard_interpretability._quantus_rows import by_quantus
from steelyard_interpretability._samples import SPLIT, Empty
from steelyard_interpretability._table import by_method
from steelyard_interpretability._trials import tried
from steelyard_interpretability._verdicts import verdict
from steelyard_interpretability.faithfulness import Faithfulness


class FaithfulnessAttachment(Attachment):
    """Tries the methods after training; during training it does nothing."""

    def __init__(self, plugin: Faithfulness) -> None:
        self._plugin = plugin

    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """Every method's numbers beside their controls, all in one table, and its pictures with a trust panel."""
        try:
            found = tried(run, self._plugin)
        except Empty as error:
            meaning = SAYS["deletion_gap"].meaning
            yield Measurement(name="deletion_gap", status=Status.SKIPPED, note=str(error), meaning=meaning, split=SPLIT)
            return
        verdicts = {name: verdict(found, trial) for name, trial in found.trials.items()}
        rows = [*numbers(found, verdicts)]
        if self._plugin.masks is not None:
            rows += by_masks(run, self._plugin, found, verdicts)
        yield from rows
        if self._plugin.quantus:
            yield from by_quantus(run, self._plugin, found, verdicts)
        yield by_method(rows, refused=found.refused)
        yield from pictures(run, self._plugin, found, verdicts)
