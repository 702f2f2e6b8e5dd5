"""Pictures in a folder for each class."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

from steelyard.data._pictures import SUFFIXES
from steelyard.data.pictures import Album, Pictures
from steelyard.problem import refuse

FIX = "data.root=FOLDER"
TRAIN, TEST = "train", "test"
VALIDATION = ("val", "valid", "validation")


@final
class ImageFolder(Pictures):
    """Pictures below `root/CLASS/`, or below `root/train/CLASS/` and `root/test/CLASS/` where there is a test set.

    The pictures of a folder root/val are dealt out together with those of root/train. Files that are no pictures by
    their ending are passed over.

    Args:
        root: The folder.
        size: Height and width that all get.
        channels: 1 for grey, 3 for red, green and blue.
        val_fraction: Part of the pictures (without a test set of their own) for validation.
        test_fraction: Part of them for the test.
        options: See `Pictures`.
    """

    def __init__(
        self,
        *,
        root: str | Path | None = None,
        size: int = 32,
        channels: int = 3,
        val_fraction: float = 0.1,
        test_fraction: float = 0.2,
        **options: Any,
    ) -> None:
        super().__init__(
            size=size,
            channels=channels,
            val_fraction=val_fraction,
            test_fraction=test_fraction,
            **options,
        )
        if root is None:
            raise refuse("data.root is not set: it names a folder with a folder of pictures for each class", fix=FIX)
        self.root = Path(root).expanduser()

    def album(self) -> Album:
        """All files, in the order of their names."""
        if not self.root.is_dir():
            raise refuse(f"there is no folder data.root={self.root}", fix=FIX)
        inside = {folder.name for folder in _folders(self.root)}
        parted = TRAIN in inside and inside <= {TRAIN, TEST, *VALIDATION}
        parts = [self.root / part for part in (TRAIN, *VALIDATION) if part in inside] if parted else [self.root]
        names = sorted({folder.name for part in parts for folder in _folders(part)})
        files = [file for part in parts for file in _files(part, names)]
        tests = _files(self.root / TEST, names) if parted and TEST in inside else []
        if not files:
            raise refuse(
                f"data.root={self.root} has no folder of pictures for each class, e.g. {self.root / 'cat' / '1.png'}",
                fix=FIX,
            )
        return Album(
            sources=[file for file, _ in (*files, *tests)],
            places=[str(file) for file, _ in (*files, *tests)],
            labels=[label for _, label in (*files, *tests)],
            names=tuple(names),
            tests=len(tests),
            source=f"data.root={self.root}",
            fix=FIX,
        )


def _folders(place: Path) -> list[Path]:
    return sorted(path for path in place.iterdir() if path.is_dir() and not path.name.startswith("."))


def _files(part: Path, names: Sequence[str]) -> list[tuple[Path, int]]:
    """Every picture with its class."""
    found: list[tuple[Path, int]] = []
    for folder in _folders(part):
        if folder.name not in names:
            raise refuse(f"{folder} is a class that {part.parent / TRAIN} does not have", fix=FIX)
        files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
        pictures = [path for path in files if path.suffix.lower() in SUFFIXES]
        if not pictures:
            others = f"{files[0].name} is none of {', '.join(SUFFIXES)}" if files else "it is empty"
            raise refuse(f"{folder} has no picture: {others}", fix=FIX)
        found += [(path, names.index(folder.name)) for path in pictures]
    return found
