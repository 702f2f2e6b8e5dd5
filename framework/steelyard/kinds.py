"""What examples are, from what to what, and whether data, task and model speak of the same."""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig
from pytorch_lightning import LightningDataModule

from steelyard.problem import Problem


class Kind(StrEnum):
    """From what to what: of an example of the data, or of what a model does.

    A data module of ours says it as `kind`, a task as `learns` (the kind of its examples -> what its model must do), a
    model as `does`. What is silent, as a class of the user's own may be, is not held against anything.
    """

    IMAGE_TO_CLASS = "image to class"
    TABLE_TO_CLASS = "table to class"
    VIDEO_TO_CLASS = "video to class"
    TEXT_TO_CLASS = "text to class"
    AUDIO_TO_CLASS = "audio to class"
    AUDIO_TO_TEXT = "audio to text"
    AUDIO_TO_LETTERS = "audio to letters"
    AUDIO_TO_VECTOR = "audio to vector"
    CLASS_TO_AUDIO = "class to audio"
    IMAGE_TO_BOXES = "image to boxes"
    TEXT_TO_TEXT = "text to text"
    TEXT = "text to next token"


TO_CLASS = (
    Kind.IMAGE_TO_CLASS,
    Kind.TABLE_TO_CLASS,
    Kind.VIDEO_TO_CLASS,
    Kind.TEXT_TO_CLASS,
    Kind.AUDIO_TO_CLASS,
)
NUMBERS_TO_CLASS = frozenset(TO_CLASS) - {Kind.TEXT_TO_CLASS}
"""For a model that takes one tensor of any meaning."""
TASKS = {
    **{kind: ("classification", kind) for kind in TO_CLASS},
    Kind.AUDIO_TO_TEXT: ("ctc", Kind.AUDIO_TO_LETTERS),
    Kind.IMAGE_TO_BOXES: ("detection", Kind.IMAGE_TO_BOXES),
    Kind.TEXT_TO_TEXT: ("sequence_to_sequence", Kind.TEXT_TO_TEXT),
    Kind.TEXT: ("language_model", Kind.TEXT),
}
"""What examples are -> the preset of a task that learns from them, and what its model does."""
MODELS = {
    Kind.IMAGE_TO_CLASS: "cnn",
    Kind.TABLE_TO_CLASS: "mlp",
    Kind.VIDEO_TO_CLASS: "videomae",
    Kind.TEXT_TO_CLASS: "bert",
    Kind.AUDIO_TO_CLASS: "keyword_cnn",
    Kind.AUDIO_TO_TEXT: "whisper",
    Kind.AUDIO_TO_LETTERS: "speech_cnn",
    Kind.AUDIO_TO_VECTOR: "sound_embedding",
    Kind.CLASS_TO_AUDIO: "wavenet",
    Kind.IMAGE_TO_BOXES: "rt_detr",
    Kind.TEXT_TO_TEXT: "bart",
    Kind.TEXT: "gpt",
}
"""What a model does -> the preset of one that does it."""


def mismatch(config: DictConfig, data: LightningDataModule) -> Problem | None:
    """What does not go together of data, task and model, by their classes, before the last two are made.

    Args:
        config: As composed; only `task` and `model` are looked at.
        data: Made.

    Returns:
        The first mismatch, with other presets to paste, or None.
    """
    node = config.get("task")
    # A task of one's own need not take the model of the config.
    task, model = _named(node), _named(node.get("model") if isinstance(node, DictConfig) else None)
    given: Any = getattr(data, "kind", None)
    learns: Mapping[Kind, Kind] | None = getattr(task, "learns", None)
    does: frozenset[Kind] | None = getattr(model, "does", None)
    if not isinstance(given, Kind) or learns is None:
        return None
    if given not in learns:
        preset, needed = TASKS[given]
        other = "" if does is not None and needed in does else f" model={MODELS[needed]}"
        message = f"{type(data).__name__} has examples from {given}, and {task.__name__} learns from {_one_of(learns)}"
        return Problem(message, fix=f"task={preset}{other}")
    needed = learns[given]
    if does is None or needed in does:
        return None
    message = f"{task.__name__} on {type(data).__name__} needs a model from {needed}, and {model.__name__} is one from"
    return Problem(f"{message} {_one_of(does)}", fix=f"model={MODELS[needed]}")


def _named(node: Any) -> Any:
    """What a node's `_target_` names; None where that cannot be had, which whoever makes it will say."""
    target = node.get("_target_") if isinstance(node, DictConfig) else None
    try:
        return None if target is None else get_object(target)
    except Exception:
        return None


def _one_of(kinds: Iterable[Kind]) -> str:
    """Those with the same end stand together, as in "image or text to class"."""
    starts: dict[str, list[str]] = {}
    for kind in sorted(kinds):
        start, _, end = kind.partition(" to ")
        starts.setdefault(end, []).append(start)
    return " or ".join(f"{_joined(start)} to {end}" for end, start in starts.items())


def _joined(names: Sequence[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last
