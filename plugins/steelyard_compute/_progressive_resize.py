"""The live half of `compute=progressive_resize`."""

from collections.abc import Iterator
from typing import Any, final

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor
from torch.nn.functional import interpolate

from steelyard import randomness
from steelyard.adapters.image import ImageAdapter
from steelyard.attachment import Attachment
from steelyard.draft import Draft
from steelyard.estimating._fake import Fakes
from steelyard.measurement import Artefact, Measurement, Status
from steelyard.problem import Problem
from steelyard.runs import Run
from steelyard_compute._growing import Swapped, grown, steps_of
from steelyard_compute.progressive_resize import ProgressiveResize


def shrunk(images: Tensor, *, height: int, width: int) -> Tensor:
    """Images (B, channels, height, width) of another size, by averages that keep the raw range."""
    return interpolate(images, size=(height, width), mode="bilinear", antialias=True, align_corners=False)


def problems(plugin: ProgressiveResize, draft: Draft) -> Iterator[Problem]:
    """No images, and models that take no small ones: tried on one batch without numbers."""
    if not isinstance(draft.adapter, ImageAdapter):
        yield Problem(f"there is nothing to shrink in {draft.adapter.modality}: it is for images", fix="compute=cost")
        return
    with randomness.forked():
        batch = next(iter(draft.data.train_dataloader()))
        images = draft.adapter.field(batch, 0)
        height, width = _size(plugin, images, share=0.0)
        fakes = Fakes()
        small = draft.adapter.replace(batch, images[:, :, :height, :width])
        task, batch = fakes.copied(draft.task), fakes.batch(small)
        try:
            with fakes.entered(), torch.no_grad():
                draft.adapter.outputs(task, batch)
        except Exception as error:  # whatever a model says of an input that it does not take
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            yield Problem(
                f"the model does not take images of {height} x {width}: {reason}",
                fix="model=resnet  (or another that takes any size)",
            )


def _size(plugin: ProgressiveResize, images: Tensor, *, share: float) -> tuple[int, int]:
    height, width = images.shape[-2:]
    least, multiple = plugin.least, plugin.multiple
    sides = (
        grown(least=max(1, round(least * side)), whole=side, share=share, multiple=multiple) for side in (height, width)
    )
    return next(sides), next(sides)


@final
class ProgressiveResizeAttachment(Attachment):
    """Shrinks a batch before its step, and gives it back whole before the next.

    Args:
        plugin: The settings.
        draft: Whose images; in a rehearsal they stay whole, since the memory is that of the largest.
    """

    def __init__(self, plugin: ProgressiveResize, draft: Draft) -> None:
        adapter = draft.adapter
        assert isinstance(adapter, ImageAdapter)
        self._plugin = plugin
        self._adapter = adapter
        self._off = draft.rehearsal
        self._swapped = Swapped()
        self._end = 0.0
        self._kept, self._seen, self._small = 0, 0, 0

    def state_dict(self) -> dict[str, Any]:
        """What was counted."""
        return {"kept": self._kept, "seen": self._seen, "small": self._small}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self._kept, self._seen, self._small = state_dict["kept"], state_dict["seen"], state_dict["small"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Finds out how long the training will be."""
        if not self._off:
            self._end = self._plugin.fraction * steps_of(trainer, key="compute.progressive_resize")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Shrinks what is too large for now; the batch before, which others have looked at, is whole again."""
        self._swapped.back()
        if self._off:
            return
        images = self._adapter.field(batch, 0)
        height, width = _size(self._plugin, images, share=trainer.global_step / self._end)
        whole = images.numel()
        self._seen += whole
        if (height, width) != tuple(images.shape[-2:]):
            self._small += 1
            with torch.no_grad():
                self._swapped.put([(images, shrunk(images, height=height, width=width))])
        self._kept += images.numel()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The last batch is whole again."""
        self._swapped.back()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Nothing stays small in a broken run."""
        self._swapped.back()

    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """How much was left out."""
        meaning = "share of the pixels that training left out while images grew"
        if not run.trained or not self._seen:
            note = "there was no training in this run"
            yield Measurement(name="left_out", status=Status.SKIPPED, note=note, meaning=meaning)
            return
        note = f"{self._small} batches were shrunk, in the first {self._plugin.fraction:.0%} of the steps"
        value = 1 - self._kept / self._seen
        yield Measurement(name="left_out", value=value, count=self._seen, note=note, meaning=meaning)
