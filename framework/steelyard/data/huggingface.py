"""Texts of any data set of the library `datasets`."""

from typing import Any, final

from steelyard.data import _datasets
from steelyard.data.blank import Empty, check_empty, written
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
        empty: Rows without a text, or without an answer, are refused, or with `drop` left out.
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
        empty: Empty = "refuse",
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
        self.empty: Empty = check_empty(empty)

    def read(self) -> Records:
        """All examples with a text of the splits train, validation and test; those of "test" last."""
        found = _datasets.load(self.path, name=self.name, encoding=self.encoding)
        wanted = {
            "data.text_column": self.text_column,
            "data.label_column": self.label_column,
            "data.answer_column": self.answer_column,
        }
        columns = Columns(found, self.path, wanted=wanted)
        labels, names = (None, ()) if self.label_column is None else columns.labels(self.label_column)
        texts = _texts(columns, self.text_column, key="data.text_column")
        kept = written(texts, empty=self.empty)
        answers = None
        if self.answer_column is not None:
            answers = _texts(columns, self.answer_column, key="data.answer_column")
            kept = [kept[at] for at in written((answers[at] for at in kept), empty=self.empty)]
        return Records(
            texts=[texts[at][1] for at in kept],
            labels=None if labels is None else [labels[at] for at in kept],
            names=names,
            answers=None if answers is None else [answers[at][1] for at in kept],
            tests=sum(at >= len(texts) - columns.tests for at in kept),
            source=self.path,
            rows=[at + 1 for at in kept],
        )


def _texts(columns: Columns, column: str, *, key: str) -> list[tuple[str, str]]:
    """The place and the text of every row; what is missing is an empty text."""
    texts: list[tuple[str, str]] = []
    for where, text in columns.rows(column):
        if text is not None and not isinstance(text, str):
            raise refuse(f"{where}: {column} is {text!r}, no text", fix=f"{key}=...")
        texts.append((f"{where}, {column}", text or ""))
    return texts
