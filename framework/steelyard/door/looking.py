"""`validate` and `predict`: a look at a trained model that keeps no scorecard."""

import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from pytorch_lightning.utilities.model_helpers import is_overridden

from steelyard import assembly, experiment, training
from steelyard.door.entering import Asked
from steelyard.draft import Draft
from steelyard.folder import replacing
from steelyard.problem import refuse
from steelyard.runs import ordered

PREDICTIONS = "predictions.pt"


def validate(asked: Asked) -> Mapping[str, float]:
    """What the task logs on the validation split.

    Raises:
        Refused: If the checkpoint does not fit, or there is nothing to validate on.
    """
    with _loaded(asked) as (trainer, draft):
        if not is_overridden("val_dataloader", draft.data, LightningDataModule):
            raise refuse("the data has no validation split")
        rows = trainer.validate(draft.task, draft.data, verbose=False)
    return {name: value for row in rows for name, value in row.items()}


def predict(asked: Asked, *, place: Path) -> Path:
    """Writes the outputs, batch by batch, into `place`, and gives the file.

    Where the data has no `predict_dataloader` the test split is taken, in order; where the task has no `predict_step`,
    what its adapter calls the outputs.

    Raises:
        Refused: If the checkpoint does not fit.
    """
    with _loaded(asked) as (trainer, draft), _ready(draft):
        batches: Any = trainer.predict(draft.task, draft.data)
    file = place / PREDICTIONS
    with replacing(file) as stream:
        torch.save(batches, stream)
    return file


@contextmanager
def _loaded(asked: Asked) -> Generator[tuple[Trainer, Draft]]:
    assert asked.checkpoint is not None
    order = experiment.Order(
        config=asked.config,
        choices=asked.choices,
        overrides=asked.words,
        checkpoint=asked.checkpoint,
        train=False,
    )
    prepared = experiment.prepare(order)
    draft = prepared.draft
    attachments = assembly.attach(prepared.selected, draft)
    with tempfile.TemporaryDirectory() as scratch:
        config = asked.config.copy()
        config.update({"checkpoints": "none", "logger": None})
        trainer = training.make_trainer(config, draft, prepared.selected, attachments, Path(scratch))
        training.load_weights(draft, attachments, asked.checkpoint)
        with training.quiet():
            yield trainer, draft


@contextmanager
def _ready(draft: Draft) -> Generator[None]:
    """Instance overrides, as the wraps of training are: a delegating LightningModule would break `self.log`."""
    given: list[tuple[object, str]] = []

    def stand_in(target: object, name: str, call: Any) -> None:
        setattr(target, name, call)
        given.append((target, name))

    def outputs(batch: Any, batch_idx: int) -> Any:
        del batch_idx
        found = draft.adapter.outputs(draft.task, batch)
        return found.cpu() if isinstance(found, torch.Tensor) else found

    if not is_overridden("predict_dataloader", draft.data, LightningDataModule):
        stand_in(draft.data, "predict_dataloader", lambda: ordered(draft.data.test_dataloader()))
    if not is_overridden("predict_step", draft.task, LightningModule):
        stand_in(draft.task, "predict_step", outputs)
    try:
        yield
    finally:
        for target, name in given:
            vars(target).pop(name)
