"""MNIST-like images in a folder of IDX files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import torch

from steelyard.data.idx_file import read_idx
from steelyard.data.in_memory import Corpus, InMemory
from steelyard.kinds import Kind
from steelyard.problem import refuse

HINT = "Fashion-MNIST is the Debian package dataset-fashion-mnist, in /usr/share/datasets/fashion-mnist"


@final
class Idx(InMemory):
    """Images (1, height, width) in [0, 1] from the four files of MNIST, plain or with ".gz", and their own test set.

    They are called train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte.

    Args:
        root: The folder.
        batch_size: Examples in a batch.
        num_workers: Processes that load; 0 loads in this one.
        split_seed: Decides which of the training images are for validation, and nothing else.
        val_fraction: Part of the training images for validation.
        limit: At most this many examples in each split.
        names: What the classes are called, from 0 on; none to call them by their numbers.
    """

    modality = "image"
    kind = Kind.IMAGE_TO_CLASS
    bounds = (0.0, 1.0)

    def __init__(
        self,
        *,
        root: str | Path | None = None,
        batch_size: int = 64,
        num_workers: int = 0,
        split_seed: int = 0,
        val_fraction: float = 0.1,
        limit: int | None = None,
        names: Sequence[str] = (),
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            num_workers=num_workers,
            split_seed=split_seed,
            val_fraction=val_fraction,
            test_fraction=0.0,
            limit=limit,
        )
        if root is None:
            raise refuse(f"data.root is not set: it names the folder of the IDX files ({HINT})", fix="data.root=FOLDER")
        self.root = Path(root).expanduser()
        self.names = tuple(names)

    def read(self) -> Corpus:
        """All four files."""
        paths = self._paths()
        images, labels = zip(*(self._part(paths, part) for part in ("train", "t10k")), strict=True)
        if images[0].shape[1:] != images[1].shape[1:]:
            sizes = " and ".join(str(tuple(part.shape[1:])) for part in images)
            raise refuse(f"the training and test images in {self.root} differ in size: {sizes}", fix="data.root=FOLDER")
        targets = torch.cat(labels).long()
        if self.names and len(self.names) <= int(targets.max()):
            row = int((targets >= len(self.names)).nonzero()[0])
            part, place = ("train", row) if row < len(labels[0]) else ("t10k", row - len(labels[0]))
            raise refuse(
                f"label {place} of {paths[f'{part}-labels-idx1-ubyte']} is {int(targets[row])}, and data.names has "
                f"{len(self.names)} names",
                fix="data.names=[]",
            )
        return Corpus(
            inputs=torch.cat(images)[:, None],
            targets=targets,
            classes=len(self.names) or int(targets.max()) + 1,
            divisor=255.0,
            tests=len(labels[1]),
        )

    def moments(self) -> Mapping[str, Any]:
        """Pixels in [0, 1] stay as they are: nothing is estimated from the data, so nothing of it leaks."""
        return {"mean": 0.0, "std": 1.0}

    def _part(self, paths: Mapping[str, Path], part: str) -> tuple[torch.Tensor, torch.Tensor]:
        images = read_idx(paths[f"{part}-images-idx3-ubyte"], dimensions=3)
        labels = read_idx(paths[f"{part}-labels-idx1-ubyte"], dimensions=1)
        if len(images) != len(labels):
            raise refuse(
                f"{self.root} has {len(images)} {part} images and {len(labels)} {part} labels", fix="data.root=FOLDER"
            )
        return images, labels

    def _paths(self) -> dict[str, Path]:
        if not self.root.is_dir():
            raise refuse(f"there is no folder data.root={self.root} ({HINT})", fix="data.root=FOLDER")
        paths: dict[str, Path] = {}
        absent: list[str] = []
        for part in ("train", "t10k"):
            for kind in ("images-idx3-ubyte", "labels-idx1-ubyte"):
                name = f"{part}-{kind}"
                spellings = [name, f"{name}.gz", name.replace("-idx", ".idx"), name.replace("-idx", ".idx") + ".gz"]
                there = [self.root / spelling for spelling in spellings if (self.root / spelling).is_file()]
                if there:
                    paths[name] = there[0]
                else:
                    absent.append(name)
        if absent:
            raise refuse(
                f"the folder data.root={self.root} lacks {', '.join(absent)} (also with .gz; {HINT})",
                fix="data.root=FOLDER",
            )
        return paths
