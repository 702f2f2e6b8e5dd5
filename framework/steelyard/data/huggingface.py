"""Texts of any data set of the library `datasets`."""

from collections.abc import Sequence
from typing import Any, final

from steelyard.data import _datasets
from steelyard.data.records import Records
from steelyard.data.texts import Texts
from steelyard.problem import refuse


@final
class HuggingFace(Texts):
    """A data set of the hub, of a local folder, or of CSV, JSON or parquet files; the columns are named by the config.

    With `label_column` the classes are learned, with `answer_column` the answers are written, and with neither the texts
    themselves are modelled. A split called "test" is the test set; without one a fraction is dealt out.

    Args:
        path: A name of the hub, a folder (also one written by `save_to_disk`), or a .csv, .json, .jsonl or .parquet file.
        name: The configuration of a data set of the hub that has several.
        text_column: The column of the texts.
        label_column: The column of the classes: whole numbers from 0 or words.
        answer_column: The column of the texts that shall come out.
        encoding: Of a CSV or JSON file.
        options: See `Texts`.
    """

    def __init__(
        self,
        *,
        path: str | None = None,
        name: str | None = None,
        text_column: str = "text",
        label_column: str | None = None,
        answer_column: str | None = None,
        encoding: str = "utf-8",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if path is None:
            raise refuse("data.path is not set: it names the data set", fix="data.path=FOLDER")
        if label_column is not None and answer_column is not None:
            raise refuse(
                "data.label_column and data.answer_column are both set: classes or answers",
                fix="data.answer_column=null",
            )
        self.path = path
        self.name = name
        self.text_column = text_column
        self.label_column = label_column
        self.answer_column = answer_column
        self.encoding = encoding

    def read(self) -> Records:
        """All examples of the splits train, validation and test; those of "test" last."""
        found = _datasets.load(self.path, name=self.name, encoding=self.encoding)
        tests = [split for split in found if split == "test" and len(found) > 1]
        order = [*(split for split in found if split not in tests), *tests]
        columns = {
            "data.text_column": self.text_column,
            "data.label_column": self.label_column,
            "data.answer_column": self.answer_column,
        }
        for key, column in columns.items():
            for split in order:
                if column is not None and column not in found[split].column_names:
                    known = ", ".join(map(repr, found[split].column_names))
                    raise refuse(
                        f"{self.path} ({split}) has no column {column!r}; it has {known}",
                        fix=f"{key}={(found[split].column_names or ['...'])[0]}",
                    )
        texts = self._texts(found, order, self.text_column)
        if not texts:
            raise refuse(f"{self.path} is empty", fix="data.path=FOLDER")
        labels, names = (None, ()) if self.label_column is None else self._labels(found, order, self.label_column)
        return Records(
            texts=texts,
            labels=labels,
            names=names,
            answers=None if self.answer_column is None else self._texts(found, order, self.answer_column),
            tests=sum(len(found[split]) for split in tests),
            source=self.path,
        )

    def _texts(self, found: Any, order: Sequence[str], column: str) -> list[str]:
        texts: list[str] = []
        for split in order:
            for at, text in enumerate(found[split][column]):
                if not isinstance(text, str) or not text.strip():
                    raise refuse(f"{self.path} ({split}), row {at + 1}: {column} is {text!r}, no text")
                texts.append(text)
        return texts

    def _labels(self, found: Any, order: Sequence[str], column: str) -> tuple[list[int], tuple[str, ...]]:
        given: list[Any] = [label for split in order for label in found[split][column]]
        named: tuple[str, ...] = tuple(getattr(found[order[0]].features[column], "names", None) or ())
        for at, label in enumerate(given):
            if not isinstance(label, str | int) or (named and label not in range(len(named))):
                raise refuse(f"{self.path}, row {at + 1}: {column} is {label!r}, no class", fix="data.label_column=...")
        if named:
            return given, named
        kinds = sorted(set(given), key=lambda label: (isinstance(label, str), label))
        numbers = {kind: number for number, kind in enumerate(kinds)}
        return [numbers[label] for label in given], tuple(map(str, kinds))
