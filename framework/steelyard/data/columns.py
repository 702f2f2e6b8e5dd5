"""The columns of a data set of the library `datasets`, row by row, with the place of each value for messages."""

from collections.abc import Iterator, Mapping
from typing import Any, final

from steelyard.problem import refuse


@final
class Columns:
    """All splits one after the other, those called "test" last.

    Args:
        found: Split -> `datasets.Dataset`.
        path: What the user called the data set.
        wanted: Config key -> column, or None where that is not used.

    Raises:
        Refused: If a column is missing, or there is no row.
    """

    def __init__(self, found: Mapping[str, Any], path: str, *, wanted: Mapping[str, str | None]) -> None:
        tests = [split for split in found if split == "test" and len(found) > 1]
        self._order = [*(split for split in found if split not in tests), *tests]
        self._found = found
        self._path = path
        self.tests: int = sum(len(found[split]) for split in tests)
        """Rows of the source's own test set."""
        for key, column in wanted.items():
            for split in self._order:
                if column is not None and column not in found[split].column_names:
                    known = ", ".join(map(repr, found[split].column_names))
                    raise refuse(
                        f"{path} ({split}) has no column {column!r}; it has {known}",
                        fix=f"{key}={(found[split].column_names or ['...'])[0]}",
                    )
        if not any(len(found[split]) for split in self._order):
            raise refuse(f"{path} is empty", fix="data.path=FOLDER")

    def feature(self, column: str) -> Any:
        """What the library knows of a column."""
        return self._found[self._order[0]].features[column]

    def rows(self, column: str) -> Iterator[tuple[str, Any]]:
        """The place and the value of every row."""
        for split in self._order:
            for at, value in enumerate(self._found[split][column]):
                yield f"{self._path} ({split}), row {at + 1}", value

    def labels(self, column: str) -> tuple[list[int], tuple[str, ...]]:
        """The classes of all rows, counted from 0, and what they are called.

        Raises:
            Refused: If a value is no class: neither a word nor a whole number from 0 on, or out of the named range.
        """
        named: tuple[str, ...] = tuple(getattr(self.feature(column), "names", None) or ())
        given: list[Any] = []
        for where, label in self.rows(column):
            number = isinstance(label, int) and not isinstance(label, bool) and label >= 0
            if not (number or isinstance(label, str)) or (named and label not in range(len(named))):
                among = f" among the {len(named)} of the data set" if named else ""
                raise refuse(f"{where}: {column} is {label!r}, no class{among}", fix="data.label_column=...")
            given.append(label)
        if named:
            return given, named
        kinds = sorted(set(given), key=lambda label: (isinstance(label, str), label))
        numbers = {kind: number for number, kind in enumerate(kinds)}
        return [numbers[label] for label in given], tuple(map(str, kinds))
