"""Pictures of any data set of the library `datasets`."""

from pathlib import Path
from typing import Any, final

from steelyard.data import _datasets
from steelyard.data.columns import Columns
from steelyard.data.pictures import Album, Pictures
from steelyard.extras import place_of
from steelyard.narrowing import is_mapping
from steelyard.problem import refuse


@final
class HuggingFaceImages(Pictures):
    """A data set of the hub, of a local folder, or of CSV, JSON or parquet files; the columns are named by the config.

    A picture may be one of the library's own, the bytes of a file, a path (from the folder of the data set on), or
    rows of pixels from 0 to 255. A split called "test" is the test set; without one a fraction is dealt out.

    Args:
        path: A name of the hub, a folder (also one written by `save_to_disk`), or a .csv, .json, .jsonl or .parquet
            file.
        name: The configuration of a data set of the hub that has several.
        image_column: The column of the pictures.
        label_column: The column of the classes: whole numbers from 0 or words.
        encoding: Of a CSV or JSON file.
        size: Height and width that all get.
        channels: 1 for grey, 3 for red, green and blue.
        val_fraction: Part of the pictures (without a test set of their own) for validation.
        test_fraction: Part of them for the test.
        options: See `Pictures`.
    """

    def __init__(
        self,
        *,
        path: str | None = None,
        name: str | None = None,
        image_column: str = "image",
        label_column: str = "label",
        encoding: str = "utf-8",
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
        if path is None:
            raise refuse("data.path is not set: it names the data set", fix="data.path=FOLDER")
        self.path = path
        self.name = name
        self.image_column = image_column
        self.label_column = label_column
        self.encoding = encoding

    def album(self) -> Album:
        """All examples of the splits train, validation and test; those of "test" last."""
        found = _datasets.load(self.path, name=self.name, encoding=self.encoding, extra="vision")
        columns = Columns(
            _datasets.undecoded(found, self.image_column),
            self.path,
            wanted={"data.image_column": self.image_column, "data.label_column": self.label_column},
        )
        labels, names = columns.labels(self.label_column)
        place = place_of(self.path, key="data.path")
        rows = [_source(value, where, place) for where, value in columns.rows(self.image_column)]
        return Album(
            sources=[source for source, _ in rows],
            places=[where for _, where in rows],
            labels=labels,
            names=names,
            tests=columns.tests,
            source=f"data.path={self.path}",
            fix="data.label_column=...",
        )


def _source(value: Any, where: str, place: Path | None) -> tuple[Any, str]:
    """What `read_picture` takes, and where it stands."""
    if is_mapping(value) and {*value} == {"bytes", "path"}:
        content, stored = value["bytes"], value["path"]
        return stored if content is None else content, f"{where}, {stored}" if stored else where
    if isinstance(value, str) and place is not None:
        file = (place if place.is_dir() else place.parent) / value
        return file, f"{where}, {file}"
    return value, where
