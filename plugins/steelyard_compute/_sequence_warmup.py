"""The live half of `compute=sequence_warmup`."""

from collections.abc import Iterator
from typing import Any, final

from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from steelyard.adapters.text import TextAdapter
from steelyard.attachment import Attachment
from steelyard.draft import Draft
from steelyard.measurement import Artefact, Measurement, Status
from steelyard.narrowing import is_mapping
from steelyard.problem import Problem
from steelyard.runs import Run
from steelyard.tasks import LanguageModel
from steelyard_compute._growing import Swapped, grown, steps_of
from steelyard_compute.sequence_warmup import SequenceWarmup


def problems(draft: Draft) -> Iterator[Problem]:
    """No texts, or texts whose greatest length nobody tells."""
    if not isinstance(draft.adapter, TextAdapter):
        yield Problem(f"there is nothing to shorten in {draft.adapter.modality}: it is for texts", fix="compute=cost")
    elif _whole(draft) is None:
        yield Problem("the data has no max_length, so it is not known where the warm-up ends", fix="data.max_length=64")


def _whole(draft: Draft) -> int | None:
    found = getattr(draft.data, "max_length", None)
    return found if isinstance(found, int) else None


@final
class SequenceWarmupAttachment(Attachment):
    """Shortens a batch before its step, and gives it back whole before the next.

    Args:
        plugin: The settings.
        draft: Whose texts; in a rehearsal they stay whole, since the memory is that of the longest.
    """

    def __init__(self, plugin: SequenceWarmup, draft: Draft) -> None:
        adapter = draft.adapter
        assert isinstance(adapter, TextAdapter)
        self._plugin = plugin
        self._adapter = adapter
        self._whole = _whole(draft) or plugin.least
        self._off = draft.rehearsal
        # What is to be said of each token is cut with it; an answer, or the class of a text, is not.
        self._follows = isinstance(draft.task, LanguageModel)
        self._swapped = Swapped()
        self._end = 0.0
        self._cut, self._seen, self._short = 0, 0, 0

    def state_dict(self) -> dict[str, Any]:
        """What was counted."""
        return {"cut": self._cut, "seen": self._seen, "short": self._short}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self._cut, self._seen, self._short = state_dict["cut"], state_dict["seen"], state_dict["short"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Finds out how long the training will be."""
        if not self._off:
            self._end = self._plugin.fraction * steps_of(trainer, key="compute.sequence_warmup")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Cuts what is too long for now; the batch before, which others have looked at, is whole again."""
        self._swapped.back()
        if self._off or not is_mapping(batch):
            return
        plugin, tokens = self._plugin, batch[str(self._adapter.tokens)]
        share = trainer.global_step / self._end
        most = grown(least=plugin.least, whole=self._whole, share=share, multiple=plugin.multiple)
        self._seen += tokens.numel()
        if tokens.shape[1] > most:
            self._cut += tokens.numel() - most * len(tokens)
            self._short += 1
            self._swapped.put([(tensor, tensor[:, :most]) for tensor in self._along(batch, tokens)])

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The last batch is whole again."""
        self._swapped.back()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Nothing stays short in a broken run."""
        self._swapped.back()

    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """How much was left out."""
        meaning = "share of the tokens, padding included, that training left out while it warmed up"
        if not run.trained or not self._seen:
            why = "there was no training in this run" if not run.trained else "no batch was a mapping"
            yield Measurement(name="left_out", status=Status.SKIPPED, note=why, meaning=meaning)
            return
        note = f"{self._short} batches were cut, in the first {self._plugin.fraction:.0%} of the steps"
        yield Measurement(name="left_out", value=self._cut / self._seen, count=self._seen, note=note, meaning=meaning)

    def _along(self, batch: Any, tokens: Tensor) -> list[Tensor]:
        """The tensors of a batch that have a column for each token."""
        named = {str(self._adapter.tokens), str(self._adapter.mask)}
        if self._follows:
            named.add(str(self._adapter.labels))
        return [batch[name] for name in named if name in batch and batch[name].shape[:2] == tokens.shape]
