"""Texts of any data set of the library `datasets`."""

from typing import Any, final

from steelyard.data import _datasets
from steelyard.data.columns import Columns
from steelyard.data.records import Records
from steelyard.data.texts import Texts
from steelyard.problem import refuse


@final
class HuggingFace(Texts):
    """A data set of the hub, of a local folder, or of CSV, JSON or parquet files; the columns are named by the config.

    With `label_column` the classes are learned, with `answer_column` the answers are written, and with neither the
    texts themselves are modelled. A split called "test" is the test set; without one a fraction is dealt out.

    Args:
        path: A name of the hub, a folder (also one written by `save_to_disk`), or a .csv, .json, .jsonl or .parquet
            file.
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
        wanted = {
            "data.text_column": self.text_column,
            "data.label_column": self.label_column,
            "data.answer_column": self.answer_column,
        }
        columns = Columns(found, self.path, wanted=wanted)
        labels, names = (None, ()) if self.label_column is None else columns.labels(self.label_column)
        return Records(
            texts=_texts(columns, self.text_column),
            labels=labels,
            names=names,
            answers=None if self.answer_column is None else _texts(columns, self.answer_column),
            tests=columns.tests,
            source=self.path,
        )


def _texts(columns: Columns, column: str) -> list[str]:
    texts: list[str] = []
    for where, text in columns.rows(column):
        if not isinstance(text, str) or not text.strip():
            raise refuse(f"{where}: {column} is {text!r}, no text")
        texts.append(text)
    return texts
