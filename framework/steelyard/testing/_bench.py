"""The bench on which a plugin is put: its surroundings, and one run through the real core."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import torch
from omegaconf import OmegaConf
from pytorch_lightning import Callback, LightningDataModule, LightningModule, seed_everything

from steelyard import assembly, registry, training
from steelyard.adapters import Adapter, Facts, adapter_for
from steelyard.attachment import Attachment
from steelyard.draft import Draft
from steelyard.plugin import Plugin
from steelyard.preflight import preflight
from steelyard.problem import Refused
from steelyard.runs import SPLITS, Run, Seconds
from steelyard.seam import Seam
from steelyard.selection import Selected
from steelyard.testing import _state
from steelyard.testing._verdict import after
from steelyard.testing.tiny import TinyImages, tiny_classifier

STRANGER = "test.plugin"
"""The key of a plugin that no entry point announces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """A draft with the plugin on it, or without.

    Attributes:
        draft: The draft.
        selected: The plugin, or nothing.
        attachments: Its live half by key, or nothing.
        clocks: As the core keeps them.
    """

    draft: Draft
    selected: tuple[Selected, ...]
    attachments: Mapping[str, Attachment]
    clocks: Mapping[str, Seconds]

    @property
    def attachment(self) -> Attachment:
        """The live half."""
        (only,) = self.attachments.values()
        return only


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A run that was trained.

    Attributes:
        made: What was trained.
        run: As `measure` gets it.
        steps: Optimizer steps.
        streams: The global random streams at the end of the fit.
        remains: What was on task and data at the end of the fit.
    """

    made: Attached
    run: Run
    steps: int
    streams: _state.State
    remains: _state.State


class Bench:
    """What a plugin's author may override, and the steps of a run that the checks share."""

    plugin: ClassVar[Plugin]
    """The declaration under test."""
    key: ClassVar[str] = ""
    """`<challenge>.<plugin>`; empty: the name of its entry point, or `test.plugin`."""
    trainer: ClassVar[Mapping[str, Any]] = {}
    """Arguments of the Trainer beside those of the suite, e.g. {"max_epochs": 4}."""
    seed: ClassVar[int] = 0
    """The seed of the run."""

    def data(self) -> LightningDataModule:
        """A data module with small train, val and test splits; called once for every run."""
        return TinyImages()

    def task(self, data: LightningDataModule) -> LightningModule:
        """A small task for that data, which is set up; called once for every run, also under `torch.device("meta")`."""
        return tiny_classifier(data)

    def adapter(self, data: LightningDataModule) -> Adapter:
        """How to look at the batches; here by the modality and bounds that the data module names."""
        return adapter_for(getattr(data, "modality", None), facts=Facts(bounds=getattr(data, "bounds", None)))

    def _key(self) -> str:
        target = f"{type(self.plugin).__module__}:{type(self.plugin).__qualname__}"
        announced = (entry.key for entry in registry.entries() if entry.target == target)
        return self.key or next(announced, STRANGER)

    def _claims(self) -> frozenset[Seam]:
        return self.plugin.owns | self.plugin.shares

    def _draft(self, *callbacks: Callback, device: str = "cpu") -> Draft:
        """The plain draft, seeded as the core seeds it."""
        seed_everything(self.seed, workers=True, verbose=False)
        data = self.data()
        data.prepare_data()
        data.setup("fit")
        data.setup("test")
        seed_everything(self.seed, workers=True, verbose=False)
        with torch.device(device):
            task = self.task(data)
        quiet = {
            "max_epochs": 2,
            "accelerator": "cpu",
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "log_every_n_steps": 1,
        }
        own = [*self.trainer.get("callbacks", ()), *callbacks]
        arguments = {**quiet, **self.trainer, "callbacks": own}
        return Draft(task=task, data=data, trainer=arguments, adapter=self.adapter(data), seed=self.seed)

    def _selected(self) -> tuple[Selected, ...]:
        return (Selected(self._key(), self.plugin),)

    def _attached(self, *callbacks: Callback, plain: bool = False) -> Attached:
        draft, selected = self._draft(*callbacks), () if plain else self._selected()
        with after("test_preflight_accepts_the_suite"):
            preflight(selected, draft)
        with after("test_attach_changes_only_what_it_claims"):
            attachments = assembly.attach(selected, draft)
        return Attached(draft=draft, selected=selected, attachments=attachments, clocks=assembly.timed(attachments))

    @contextmanager
    def _trained(self, *, plain: bool = False) -> Generator[Trained]:
        """Steps 4 to 10 of a run, with the plugin or without."""
        made = self._attached(plain=plain)
        with _state.contained(), TemporaryDirectory(prefix="steelyard-") as folder:
            with after("test_trains"):
                trained = fit(made, Path(folder))
            yield trained

    @contextmanager
    def _untrained(self) -> Generator[Trained]:
        """The same under `steelyard weigh`: tested, never trained."""
        made = self._attached()
        with _state.contained(), TemporaryDirectory(prefix="steelyard-") as folder:
            yield fit(made, Path(folder), train=False)


def fit(made: Attached, place: Path, *, train: bool = True, checkpoint: Path | None = None) -> Trained:
    """Trains (unless told not to) and tests, as `steelyard.experiment` does, in the folder `place`."""
    draft = made.draft
    config = OmegaConf.create({"checkpoints": "none" if checkpoint is None else "last"})
    trainer = training.make_trainer(config, draft, made.selected, made.attachments, place)
    if train:
        seed_everything(draft.seed, workers=True, verbose=False)
        training.fit(trainer, draft, checkpoint)
    streams, remains, steps = _state.streams(), _state.remains(draft), trainer.global_step
    training.test(trainer, draft)
    device = trainer.strategy.root_device
    run = Run(
        task=draft.task.to(device).eval(),
        data=draft.data,
        adapter=draft.adapter,
        seed=draft.seed,
        device=device,
        trained=train,
        folder=place,
        seconds=made.clocks,
    )
    for split in SPLITS:
        # A data module may keep what it makes on first use.
        with suppress(Refused, AttributeError, NotImplementedError):
            run.loader(split)
    return Trained(made=made, run=run, steps=steps, streams=streams, remains=remains)
