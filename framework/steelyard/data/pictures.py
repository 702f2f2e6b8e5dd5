"""The base of the data modules whose examples are files of pictures."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch

from steelyard.data._pictures import read_picture
from steelyard.data.in_memory import Corpus, InMemory
from steelyard.kinds import Kind
from steelyard.problem import check_least, refuse


@dataclass(frozen=True, slots=True, kw_only=True)
class Album:
    """Pictures before they are read.

    Attributes:
        sources: What `read_picture` takes, one per example.
        places: Where each stands, for messages.
        labels: The class of each, from 0.
        names: What the classes are called.
        tests: How many at the end are the source's own test set.
        source: Where they all come from, for messages.
        fix: The override that names another source.
    """

    sources: Sequence[Any]
    places: Sequence[str]
    labels: Sequence[int]
    names: tuple[str, ...]
    tests: int
    source: str
    fix: str


class Pictures(InMemory):
    """Pictures (channels, size, size) in [0, 1], read once and kept in memory as bytes.

    Of each picture the largest square in its middle is scaled to the size; where it is clear it becomes white.

    Args:
        size: Height and width that all get.
        channels: 1 for grey, 3 for red, green and blue.
        options: See `InMemory`.

    Raises:
        Refused: If an option is out of range.
    """

    modality = "image"
    kind = Kind.IMAGE_TO_CLASS
    bounds = (0.0, 1.0)

    def __init__(self, *, size: int = 32, channels: int = 3, **options: Any) -> None:
        super().__init__(**options)
        check_least("data.size", size, 1, fix=32)
        if channels not in (1, 3):
            raise refuse(f"data.channels is {channels}, must be 1 or 3", fix="data.channels=3")
        self.size = size
        self.channels = channels
        self.names: tuple[str, ...] = ()

    @abstractmethod
    def album(self) -> Album:
        """Finds the pictures without opening them; called once.

        Raises:
            Refused: If something is missing.
        """

    @final
    def read(self) -> Corpus:
        """All pictures."""
        album = self.album()
        labels = torch.tensor([*album.labels], dtype=torch.long)
        if len({*album.labels}) < 2:
            every = f"all {len(labels)} pictures of {album.source} are of the class {album.names[int(labels[0])]!r}"
            raise refuse(f"{every}: there is nothing to tell apart", fix=album.fix)
        inputs = torch.empty(len(labels), self.channels, self.size, self.size, dtype=torch.uint8)
        for at, (source, where) in enumerate(zip(album.sources, album.places, strict=True)):
            inputs[at] = read_picture(source, size=self.size, channels=self.channels, where=where)
        self.names = album.names
        return Corpus(inputs=inputs, targets=labels, classes=len(album.names), divisor=255.0, tests=album.tests)

    @final
    def moments(self) -> Mapping[str, Any]:
        """Pixels in [0, 1] stay as they are: nothing is estimated from the data, so nothing of it leaks."""
        return {"mean": 0.0, "std": 1.0}
