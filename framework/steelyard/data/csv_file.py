"""CSV files in any encoding, with messages that name file and row."""

import codecs
import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from steelyard.data.blank import Empty, written
from steelyard.problem import refuse

MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""UTF-32 before UTF-16, whose mark it begins with."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The content of a CSV file.

    Attributes:
        path: The file.
        names: Of the columns.
        cells: A sequence as long as `names` per row.
        numbers: Of the rows in the file, where the one with the names is row 1.
    """

    path: Path
    names: Sequence[str]
    cells: Sequence[Sequence[str]]
    numbers: Sequence[int]

    def column(self, name: str) -> list[str]:
        """All cells of a column."""
        place = self.names.index(name)
        return [row[place] for row in self.cells]

    def where(self, at: int) -> str:
        """The place of a row, for messages."""
        return f"{self.path}, row {self.numbers[at]}"

    def written(self, name: str, *, empty: Empty) -> "Rows":
        """The rows that have a text in a column.

        Raises:
            Refused: If a row without one shall not be left out, or there is no other.
        """
        kept = written(((self.where(at), text) for at, text in enumerate(self.column(name))), empty=empty)
        return replace(self, cells=[self.cells[at] for at in kept], numbers=[self.numbers[at] for at in kept])


def read_csv(path: Path, *, columns: Mapping[str, str], encoding: str | None, delimiter: str) -> Rows:
    """Reads a whole file.

    Args:
        path: The file.
        columns: Config key -> name of a column that must be there.
        encoding: None looks for a byte order mark, then tries UTF-8, then Windows-1252.
        delimiter: What stands between the columns, one character.

    Raises:
        Refused: If the file is missing or empty, cannot be decoded, lacks a column, or has a row of another length.
    """
    if len(delimiter) != 1:
        raise refuse(f"data.delimiter is {delimiter!r}, must be one character", fix="data.delimiter=,")
    text = decode(_bytes(path), path=path, encoding=encoding)
    if not text.strip():
        raise refuse(f"{path} is empty", fix="data.path=FILE.csv")
    try:
        names, *cells = (row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row)
    except csv.Error as error:
        raise refuse(f"{path} is no CSV file: {error}", fix="data.path=FILE.csv") from error
    for key, name in columns.items():
        if name not in names:
            other = next((mark for mark in ",;\t|" if mark != delimiter and mark in names[0] and len(names) == 1), None)
            raise refuse(
                f"{path} has no column {name!r}; it has {', '.join(map(repr, names))}",
                fix=f"'data.delimiter=\"{other}\"'" if other else f"{key}={names[0]}",
            )
    rows = Rows(path=path, names=names, cells=cells, numbers=range(2, 2 + len(cells)))
    if not cells:
        raise refuse(f"{path} has names of columns and no row", fix="data.path=FILE.csv")
    for at, row in enumerate(cells):
        if len(row) != len(names):
            raise refuse(f"{rows.where(at)}: {len(row)} cells, {len(names)} columns", fix="data.delimiter=...")
    return rows


def decode(content: bytes, *, path: Path, encoding: str | None) -> str:
    """Bytes as text.

    Raises:
        Refused: If the encoding is not known or does not fit.
    """
    if encoding is None:
        marked = next((name for mark, name in MARKS if content.startswith(mark)), None)
        encoding = marked or ("utf-8" if _fits(content, "utf-8") else "cp1252")
    try:
        return content.decode(encoding)
    except LookupError as error:
        raise refuse(f"there is no encoding data.encoding={encoding}", fix="data.encoding=null") from error
    except UnicodeDecodeError as error:
        row = content[: error.start].count(b"\n") + 1
        raise refuse(
            f"{path}, line {row}: the byte 0x{content[error.start]:02x} is no {encoding}", fix="data.encoding=latin-1"
        ) from error


def _fits(content: bytes, encoding: str) -> bool:
    try:
        content.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise refuse(f"data.path={path} cannot be read: {error.strerror}", fix="data.path=FILE.csv") from error
