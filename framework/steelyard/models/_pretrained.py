# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateImportUsage=false
"""The only door for stored weights: safetensors alone, no remote code, and nothing silently left at random."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from steelyard.extras import place_of, require
from steelyard.problem import Refused, refuse

FIX = "model.pretrained=FOLDER"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


def pretrained(place: str, *, of: str, extra: str, fresh: Sequence[str] = (), **config: Any) -> Any:
    """A model with the weights of a folder, a package or the hub: safetensors only, and none of their code is run.

    On the meta device the weights are not read.

    Args:
        place: A folder, `package://NAME/FOLDER`, or a name of the hub.
        of: Which automatic class loads it, e.g. AutoModel.
        extra: The extra of Steelyard that brings transformers.
        fresh: Beginnings of the names of weights that may be new, e.g. of the last layer.
        config: Changes of the stored config.

    Raises:
        Refused: If it cannot be loaded safely, or the weights are not those of the model that the config describes.
    """
    require("transformers", extra=extra)
    import transformers

    found = place_of(place, key="model.pretrained")
    if found is not None:
        _check_files(found, place)
    kind: Any = getattr(transformers, of)
    origin = str(found or place)
    options = {"trust_remote_code": False, "local_files_only": found is not None}
    try:
        with _silent(transformers):
            stored: Any = transformers.AutoConfig.from_pretrained(origin, **options, **config)
            if torch.empty(0).device.type == "meta":
                return kind.from_config(stored, attn_implementation="eager")
            # Sizes that do not fit are looked at below: the library's own message names none.
            model, report = kind.from_pretrained(
                origin,
                config=stored,
                use_safetensors=True,
                attn_implementation="eager",
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                **options,
            )
    # Whatever a damaged file makes the libraries raise.
    except Exception as error:
        raise _unloadable(place, error) from error
    _check_weights(report, place, fresh=fresh)
    # The library hands out models for prediction, without dropout.
    return model.train()


def _check_files(found: Path, place: str) -> None:
    if not found.is_dir():
        raise refuse(f"model.pretrained={place} is a file; it must be a folder with config.json and weights", fix=FIX)
    if not [*found.glob("*.safetensors")]:
        pickles = ", ".join(sorted(path.name for pattern in PICKLES for path in found.glob(pattern)))
        raise refuse(
            f"model.pretrained={place} has no *.safetensors"
            + (f"; {pickles} is a pickle, which can run any code when it is read" if pickles else ""),
            fix=FIX,
        )


def _unloadable(place: str, error: Exception) -> Refused:
    reason = (str(error).splitlines() or [""])[0] or type(error).__name__
    return refuse(f"model.pretrained={place} cannot be loaded: {reason}", fix=FIX)


def _check_weights(report: Mapping[str, Any], place: str, *, fresh: Sequence[str]) -> None:
    allowed = tuple(fresh)
    absent = sorted(name for name in report["missing_keys"] if not name.startswith(allowed))
    if absent:
        raise refuse(
            f"model.pretrained={place} lacks {len(absent)} weights of the model that its config.json describes, "
            f"first {absent[0]}",
            fix=FIX,
        )
    other = sorted(entry for entry in report["mismatched_keys"] if not entry[0].startswith(allowed))
    if other:
        name, stored, wanted = other[0]
        raise refuse(
            f"model.pretrained={place} is of another shape: {name} is {tuple(stored)} in the file and {tuple(wanted)} "
            "by its config.json",
            fix=FIX,
        )


@contextmanager
def _silent(transformers: Any) -> Generator[None]:
    """Quiet while weights are loaded: that some are left out and others are new is what was asked for."""
    logging: Any = transformers.utils.logging
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
