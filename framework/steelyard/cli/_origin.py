"""The run that a checkpoint is of: what it was made with comes before the words of the command line."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steelyard import spec
from steelyard.problem import refuse
from steelyard.stored import StoredRun

if TYPE_CHECKING:
    from steelyard.composing import Composed

CONFIG = "config="
_MADE = ("model", "data", "task")
"""What a checkpoint means nothing without."""


@dataclass(frozen=True, slots=True)
class Origin:
    """A run folder that a checkpoint lies in.

    Attributes:
        folder: The run's.
        words: Those of the run that the command line says nothing else about.
        said: Those of the command line.
    """

    folder: Path
    words: tuple[str, ...]
    said: tuple[str, ...]

    def marked(self, composed: "Composed") -> "Composed":
        """The config of the words together, with a note.

        Raises:
            Refused: If the run's words do not give its model, data or task any more.
        """
        from omegaconf import OmegaConf

        kept: Any = OmegaConf.load(self.folder / "config.yaml")
        made = spec.masked(spec.plain(composed.config))
        keys = {_key(word) for word in self.said}
        for part in _MADE:
            own = not any(key == part or key.startswith(f"{part}.") for key in keys) and "experiment" not in keys
            if own and _text(kept.get(part)) != _text(made.get(part)):
                raise refuse(
                    f"the words of {self.folder.name} give another {part} today than it was made with",
                    fix=f"{CONFIG}{self.folder / 'config.yaml'}",
                )
        if not self.words:
            return composed
        note = f"{self.folder.name} was made by {' '.join(self.words)}, which come before the words of the command"
        return replace(composed, notes=(*composed.notes, note))


def origin(checkpoint: Path, said: Sequence[str]) -> Origin | None:
    """The run whose folder a checkpoint lies in; None for a checkpoint from elsewhere.

    Args:
        checkpoint: The file.
        said: The words of the command line.
    """
    place = checkpoint.parent.parent
    if not (place / "config.yaml").is_file():
        return None
    try:
        kept = [str(word) for word in StoredRun(place).provenance["overrides"]]
    except (OSError, KeyError, TypeError, ValueError):
        return None
    if any(word.startswith(CONFIG) for word in kept):
        return Origin(place, (f"{CONFIG}{place / 'config.yaml'}",), tuple(said))
    keys = {_key(word) for word in said}
    words = [word for word in kept if spec.MASK not in word and not any(map(keys.__contains__, _paths(_key(word))))]
    return Origin(place, tuple(words), tuple(said))


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+~")


def _paths(key: str) -> list[str]:
    """The key, and all above it."""
    parts = key.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts) + 1)]


def _text(node: Any) -> str:
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(OmegaConf.create({"part": node}))
