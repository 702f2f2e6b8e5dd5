"""The live half of `compute=accumulation`."""

from collections.abc import Iterator
from typing import Any, final

import torch
from pytorch_lightning import LightningModule, Trainer

from steelyard.adapters import Adapter
from steelyard.attachment import Attachment
from steelyard.measurement import Artefact, Measurement, Status
from steelyard.runs import Run


@final
class AccumulationAttachment(Attachment):
    """Counts the examples and the steps that were made of them.

    Args:
        adapter: Counts the examples of a batch.
    """

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter
        self._examples = 0
        self._steps = 0

    def state_dict(self) -> dict[str, Any]:
        """Both counts."""
        return {"examples": self._examples, "steps": self._steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self._examples, self._steps = state_dict["examples"], state_dict["steps"]

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Counts the examples."""
        self._examples += self._adapter.size(batch)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Counts the steps."""
        self._steps += 1

    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """What one step was made of."""
        meaning = "training examples whose gradients make one step, on average"
        if not run.trained or not self._steps:
            yield Measurement(
                name="examples_per_step",
                status=Status.SKIPPED,
                unit="examples",
                note="there was no training in this run",
                meaning=meaning,
            )
            return
        yield Measurement(
            name="examples_per_step",
            value=self._examples / self._steps,
            unit="examples",
            count=self._steps,
            meaning=meaning,
        )
