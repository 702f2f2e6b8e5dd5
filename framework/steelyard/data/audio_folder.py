"""Sounds of one's own, a folder for each class."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import torch

from steelyard.data.in_memory import Corpus, InMemory
from steelyard.data.sound_files import SoundFiles
from steelyard.kinds import Kind
from steelyard.problem import refuse


@final
class AudioFolder(InMemory):
    """Files of WAV, FLAC, Ogg or whatever else libsndfile reads: ROOT/CLASS/FILE. Samples (T,) in [-1, 1].

    The classes are the names of the folders in alphabetical order; hidden files are left out. Where several files come
    from one person, unseen files are easier than unseen people: `data=audio_csv` knows who speaks, this does not.

    Args:
        root: The folder of the classes' folders.
        sample_rate: Samples a second.
        seconds: Length of every example; longer files are cut to their middle, shorter ones stand amid silence.
        resampling: Whether files of another rate are changed to it, or refused.
        silence: Whether files that hold nothing but silence are taken.
        val_fraction: Part of the files for validation.
        test_fraction: Part of them for the test.
        options: See `InMemory`.

    Raises:
        Refused: If an option is out of range; when it is set up, naming the files that cannot be taken.
    """

    modality = "audio"
    kind = Kind.AUDIO_TO_CLASS
    bounds = (-1.0, 1.0)

    def __init__(
        self,
        *,
        root: str | Path | None = None,
        sample_rate: int = 16000,
        seconds: float = 1.0,
        resampling: bool = True,
        silence: bool = False,
        val_fraction: float = 0.15,
        test_fraction: float = 0.2,
        **options: Any,
    ) -> None:
        super().__init__(
            val_fraction=val_fraction,
            test_fraction=test_fraction,
            **options,
        )
        if root is None:
            raise refuse(
                "data.root is not set: it names the folder that has one for each class", fix="data.root=FOLDER"
            )
        self.root = Path(root).expanduser()
        self.sample_rate = sample_rate
        self.files = SoundFiles(
            sample_rate=sample_rate, seconds=seconds, too_long="cut", resampling=resampling, silence=silence
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The classes."""
        return tuple(folder.name for folder in self._folders())

    def read(self) -> Corpus:
        """All files of all classes."""
        folders = self._folders()
        paths = [_visible(folder) for folder in folders]
        for folder, inside in zip(folders, paths, strict=True):
            if not inside:
                raise refuse(f"{folder} has no files", fix="data.root=FOLDER")
        return Corpus(
            inputs=self.files.read([path for inside in paths for path in inside]),
            targets=torch.arange(len(folders)).repeat_interleave(torch.tensor([len(inside) for inside in paths])),
            classes=len(folders),
        )

    def moments(self) -> Mapping[str, Any]:
        """Samples in [-1, 1] stay as they are; models learn of the rate and the words, too."""
        return {"mean": 0.0, "std": 1.0, "sample_rate": self.sample_rate, "names": self.names}

    def _folders(self) -> list[Path]:
        found = [path for path in _visible(self.root) if path.is_dir()] if self.root.is_dir() else []
        if len(found) < 2:
            raise refuse(
                f"data.root={self.root} has {len(found)} folders; it needs one for each class, and two at least",
                fix="data.root=FOLDER",
            )
        return found


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
