"""Checkpoints that a crash, a full disk or a stranger's pickle cannot turn against the user."""

import pickle
import warnings
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins import CheckpointIO

from steelyard.folder import replacing
from steelyard.narrowing import is_mapping
from steelyard.problem import refuse

LAST = "last.ckpt"


class AtomicCheckpointIO(CheckpointIO):
    """Writes beside the target, syncs and renames; reads tensors and plain values only.

    Lightning's own way goes through `$TMPDIR`, and a kill during the move across file systems leaves a torso in place
    of the last good checkpoint.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Saves, or raises OSError and leaves the earlier file as it was."""
        del storage_options
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as file:
            torch.save(checkpoint, file)

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Loads with `weights_only=True`, whatever is asked for."""
        del weights_only
        return load(Path(path), map_location=map_location)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Removes the file if it is there."""
        Path(path).unlink(missing_ok=True)


def load(path: Path, *, map_location: Any = "cpu") -> dict[str, Any]:
    """The content of a checkpoint: tensors and plain values.

    Raises:
        Refused: If the file is missing, damaged, or holds pickled objects, which could run code.
    """
    if not path.is_file():
        raise refuse(f"there is no checkpoint {path}", fix="ckpt=PATH/TO/last.ckpt")
    try:
        with warnings.catch_warnings():
            # A pickle that is none of torch's is refused below.
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            found: Any = torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).splitlines()[0]
        raise refuse(f"{path} holds more than tensors and plain values, which is not loaded: {reason}") from error
    except (RuntimeError, EOFError, OSError, KeyError, ValueError) as error:
        raise refuse(f"{path} is no readable checkpoint: {error}") from error
    if not is_mapping(found) or "state_dict" not in found:
        raise refuse(f"{path} is no Lightning checkpoint: it has no state_dict")
    return dict(found)


def keeper(folder: Path) -> ModelCheckpoint:
    """Keeps the newest state in `folder/checkpoints/last.ckpt`, at the end of every epoch."""
    return ModelCheckpoint(
        dirpath=folder / "checkpoints",
        filename=LAST.removesuffix(".ckpt"),
        save_top_k=1,
        every_n_epochs=1,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
