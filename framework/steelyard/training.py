"""The Trainer of a run: made, let loose, tested."""

import logging
import re
import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.model_helpers import is_overridden

from steelyard import assembly, checkpoints, ranks, resident
from steelyard._quick_log import quick_log
from steelyard.attachment import Attachment
from steelyard.building import plain_list
from steelyard.draft import Draft
from steelyard.estimating.forecasting import smaller_than_a_batch
from steelyard.guards import FiniteLoss, LatePreflight, Streams
from steelyard.problem import refuse
from steelyard.ranks import Rank, joining
from steelyard.selection import Selected


def make_trainer(
    config: DictConfig,
    draft: Draft,
    selected: Sequence[Selected],
    attachments: Mapping[str, Attachment],
    place: Path,
    *,
    loggers: Sequence[Logger] = (),
    watch: Callback | None = None,
    rank: Rank | None = None,
) -> Trainer:
    """The Trainer with all callbacks: late preflight, attachments in order, the user's, the core's own.

    One that watches from outside comes last, and Lightning's progress bar gives way to it. Without a rank the Trainer
    runs in this process, however many the arguments ask for: those that train are launched before (`steelyard.ranks`).

    Raises:
        Refused: If Lightning does not take the arguments.
    """
    arguments = dict(draft.trainer)
    own: list[Callback] = plain_list(arguments.pop("callbacks", None))
    if config.get("checkpoints", "last") == "last":
        own.append(checkpoints.keeper(place))
    arguments.setdefault("enable_checkpointing", any(isinstance(callback, Checkpoint) for callback in own))
    arguments["plugins"] = [*plain_list(arguments.get("plugins")), checkpoints.AtomicCheckpointIO()]
    arguments["logger"] = [*loggers] or False
    if rank is None:
        arguments.update(ranks.alone(arguments))
        if SLURMEnvironment.detect() and not any(isinstance(one, ClusterEnvironment) for one in arguments["plugins"]):
            # Whoever sends a job to SLURM sends it again; Lightning would, too, with a command that starts a new run.
            arguments["plugins"].append(LightningEnvironment())
    else:
        own.append(joining.join(arguments, draft, rank))
    if watch is not None and (rank is None or rank.first):
        own.append(watch)
        arguments["enable_progress_bar"] = False
    guards = [] if any(one.minds_losses for one in attachments.values()) else [FiniteLoss()]
    streams = Streams()
    attached = assembly.callbacks(selected, attachments)
    ours = assembly.spared([streams.opening, LatePreflight(selected, draft), *attached, *guards, streams])
    gathered = [*ours, *own]
    try:
        with quiet():
            return Trainer(**arguments, callbacks=gathered, default_root_dir=place)
    except (TypeError, ValueError, MisconfigurationException) as error:
        message = f"Lightning does not take these arguments of the Trainer: {error}"
        raise refuse(message, fix="trainer=default") from error


def fit(trainer: Trainer, draft: Draft, checkpoint: Path | None, *, rank: Rank | None = None) -> None:
    """Trains with the wraps on, from the start or from `checkpoint`; with a rank, together with the others.

    Raises:
        KeyboardInterrupt: On Ctrl-C.
        Refused: If there was nothing to train on.
    """
    with assembly.wrapped(draft), quick_log(draft.task), quiet():
        if rank is not None:
            joining.train(trainer, draft, rank, lambda: _fit(trainer, draft, checkpoint))
        else:
            _fit(trainer, draft, checkpoint)


def tester(draft: Draft, place: Path, device: torch.device, loggers: Sequence[Logger]) -> Trainer:
    """A Trainer for this process alone, when the ranks that trained have parted."""
    with quiet():
        return joining.tester(draft, place, device=device, loggers=[*loggers])


def _fit(trainer: Trainer, draft: Draft, checkpoint: Path | None) -> None:
    resident.keep()
    try:
        trainer.fit(draft.task, datamodule=draft.data, ckpt_path=checkpoint, weights_only=True)
    except SystemExit:
        # Lightning turns Ctrl-C into sys.exit(1), which hides what happened.
        if trainer.interrupted:
            raise KeyboardInterrupt from None
        raise
    if trainer.num_training_batches == 0 and trainer.limit_train_batches:
        # Lightning leaves the training out and says so in a warning.
        small = smaller_than_a_batch(trainer.train_dataloader)
        message = "the training data give no batch, so nothing can be trained"
        raise refuse(f"{message}: {small.message}" if small else message, fix=small.fix if small else "")


def test(trainer: Trainer, draft: Draft) -> Mapping[str, float]:
    """What the task logs on the test split; empty where it has no test step, or the data no test split."""
    from pytorch_lightning import LightningDataModule

    if not is_overridden("test_step", draft.task, LightningModule):
        return {}
    if not is_overridden("test_dataloader", draft.data, LightningDataModule):
        return {}
    with quiet():
        rows = trainer.test(draft.task, draft.data, verbose=False)
    return {name: value for row in rows for name, value in row.items()}


def load_weights(draft: Draft, attachments: Mapping[str, Attachment], checkpoint: Path) -> None:
    """Puts the weights of a checkpoint into the task, and the state that its plugins kept into the attachments.

    Raises:
        Refused: If the checkpoint does not fit the task.
    """
    content = checkpoints.load(checkpoint)
    draft.task.configure_model()
    try:
        draft.task.load_state_dict(content["state_dict"])
    except RuntimeError as error:
        reasons = [_shortened(line.strip()) for line in str(error).splitlines()[1:]]
        message = f"{checkpoint} holds another model: {'; '.join(reasons[:3])}"
        raise refuse(message, fix="model=...  (as it was trained, say by the same experiment=)") from error
    states: Mapping[str, Any] = content.get("callbacks", {})
    for key, attachment in attachments.items():
        if key in states:
            attachment.load_state_dict(states[key])


def _shortened(reason: str, *, most: int = 3) -> str:
    """A line of torch's that lists names of weights, with a few of them."""
    names = re.findall(r'"[^"]+"', reason)
    if len(names) <= most:
        return reason.removesuffix(". ").removesuffix(".")
    return f"{reason.partition(names[0])[0]}{', '.join(names[:most])} and {len(names) - most} more"


def widened(task: LightningModule) -> LightningModule:
    """Weights that were trained in 16 bits keep their values in 32, as the data is: whoever measures feeds the data."""
    halves = {torch.bfloat16, torch.float16}
    return task.float() if any(weight.dtype in halves for weight in task.parameters()) else task


@contextmanager
def quiet() -> Generator[None]:
    """Silences what Lightning says of choices that are ours, and its advertisements; its warnings stay."""
    logger = logging.getLogger("pytorch_lightning")
    level = logger.level
    logger.setLevel(max(level, logging.WARNING))
    try:
        with warnings.catch_warnings():
            # Data in memory needs no workers, and a short epoch is no mistake.
            warnings.filterwarnings("ignore", message=r".*does not have many workers.*")
            warnings.filterwarnings("ignore", message=r".*is smaller than the logging interval.*")
            # A stranger's task may do without validation.
            warnings.filterwarnings("ignore", message=r".*have no `validation_step`.*")
            # The checkpoints of a resumed run are where they belong.
            warnings.filterwarnings("ignore", message=r".*exists and is not empty.*")
            # A run that goes on from another one's checkpoint keeps its own in its own folder.
            warnings.filterwarnings("ignore", message=r".*The dirpath has changed.*")
            # Lightning 2.6 asks torch 2.13's pytrees in an outdated way.
            warnings.filterwarnings("ignore", message=r".*treespec, LeafSpec.*")
            yield
    finally:
        logger.setLevel(level)
