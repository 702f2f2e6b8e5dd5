"""Texts with a class or a score in a CSV file."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

from steelyard.data.blank import Empty, check_empty
from steelyard.data.csv_file import Rows, read_csv
from steelyard.data.records import Records
from steelyard.data.texts import Texts
from steelyard.problem import refuse

MANY = 100
"""More different labels than this are rather scores than classes."""


@final
class TextCSV(Texts):
    """A row per text, the first row naming the columns; what is learned is a class, or whether a score is high.

    Messages count rows as an editor counts records: the row with the names is row 1.

    Args:
        path: The file.
        text_column: The column of the texts.
        label_column: The column of the classes or scores.
        threshold: Makes two classes of a score: 1 above it, 0 otherwise. None: the column holds classes.
        score_range: Smallest and largest allowed score.
        classes: How many classes there are, numbered from 0; None takes whatever occurs, in sorted order.
        encoding: E.g. utf-8 or cp1252; None looks for a byte order mark, then tries UTF-8, then Windows-1252.
        delimiter: What stands between the columns.
        class_names: What the classes are called, in order; None takes what the column holds.
        origin: Where the file comes from, told where it is missing.
        empty: Rows without a text are refused, or with `drop` left out.
        options: See `Texts`.
    """

    def __init__(
        self,
        *,
        path: str | Path | None = None,
        text_column: str = "text",
        label_column: str = "label",
        threshold: float | None = None,
        score_range: Sequence[float] | None = None,
        classes: int | None = None,
        encoding: str | None = None,
        delimiter: str = ",",
        class_names: Sequence[str] | None = None,
        origin: str | None = None,
        empty: Empty = "refuse",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if path is None:
            raise refuse("data.path is not set: it names the CSV file", fix="data.path=FILE.csv")
        self.path = Path(path).expanduser()
        self.text_column = text_column
        self.label_column = label_column
        self.threshold = threshold
        self.score_range = score_range
        self.classes = classes
        self.encoding = encoding
        self.delimiter = delimiter
        self.class_names = class_names
        self.origin = origin
        self.empty: Empty = check_empty(empty)

    def read(self) -> Records:
        """All rows with a text."""
        if self.origin is not None and not self.path.exists():
            raise refuse(f"there is no {self.path}: {self.origin}", fix="data.path=FILE.csv")
        rows = read_csv(
            self.path,
            columns={"data.text_column": self.text_column, "data.label_column": self.label_column},
            encoding=self.encoding,
            delimiter=self.delimiter,
        ).written(self.text_column, empty=self.empty)
        texts, given = rows.column(self.text_column), rows.column(self.label_column)
        if self.threshold is not None:
            labels, names = self._judged(rows, given), (f"at most {self.threshold:g}", f"above {self.threshold:g}")
        elif self.classes is not None:
            labels, names = self._numbered(rows, given, self.classes), tuple(map(str, range(self.classes)))
        else:
            names = self._occurring(given)
            numbers = {name: number for number, name in enumerate(names)}
            labels = [numbers[label.strip()] for label in given]
        names = self._called(names)
        return Records(texts=texts, labels=labels, names=names, source=str(self.path), rows=rows.numbers)

    def _called(self, names: tuple[str, ...]) -> tuple[str, ...]:
        if self.class_names is None:
            return names
        if len(self.class_names) != len(names):
            raise refuse(
                f"data.class_names has {len(self.class_names)} names; the {len(names)} classes are {', '.join(names)}",
                fix="data.class_names=null",
            )
        return tuple(self.class_names)

    def _judged(self, rows: Rows, given: Sequence[str]) -> list[int]:
        threshold = self.threshold
        assert threshold is not None
        labels: list[int] = []
        low, high = self.score_range or (-math.inf, math.inf)
        for at, word in enumerate(given):
            try:
                score = float(word)
            except ValueError:
                score = math.nan
            if not math.isfinite(score):
                raise refuse(f"{rows.where(at)}: {self.label_column} is {word!r}, no number", fix="data.threshold=null")
            if not low <= score <= high:
                raise refuse(
                    f"{rows.where(at)}: {self.label_column} is {score:g}, out of the range {low:g} to {high:g}",
                    fix=f"data.score_range=[{min(low, score):g},{max(high, score):g}]",
                )
            labels.append(int(score > threshold))
        return labels

    def _numbered(self, rows: Rows, given: Sequence[str], classes: int) -> list[int]:
        labels: list[int] = []
        for at, word in enumerate(given):
            number = int(word) if word.strip().isdecimal() else -1
            if not 0 <= number < classes:
                raise refuse(
                    f"{rows.where(at)}: {self.label_column} is {word!r}, must be a whole number "
                    f"from 0 to {classes - 1}",
                    fix="data.classes=null",
                )
            labels.append(number)
        return labels

    def _occurring(self, given: Sequence[str]) -> tuple[str, ...]:
        found = {label.strip() for label in given}
        if len(found) > MANY:
            raise refuse(
                f"{self.path}: {self.label_column} has {len(found)} different values; a score needs a threshold",
                fix="data.threshold=0",
            )
        if len(found) < 2:
            raise refuse(f"{self.path}: {self.label_column} is {given[0]!r} in every row", fix="data.label_column=...")
        whole = all(label.removeprefix("-").isdecimal() for label in found)
        return tuple(sorted(found, key=int) if whole else sorted(found))
