# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateImportUsage=false
"""The only place that touches the library `datasets`."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steelyard.extras import place_of, require
from steelyard.problem import refuse

FILES = {".csv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}


def load(path: str, *, name: str | None, encoding: str, extra: str = "text") -> Mapping[str, Any]:
    """Split -> `datasets.Dataset`, read without running any code of the data set.

    Args:
        path: A name of the hub, a folder or a file.
        name: The configuration of a data set of the hub.
        encoding: Of a CSV or JSON file.
        extra: The extra of Steelyard that brings the library.

    Raises:
        Refused: If it cannot be read.
    """
    require("datasets", extra=extra)
    import datasets

    place = place_of(path, key="data.path")
    try:
        if place is None:
            found: Any = datasets.load_dataset(path, name)
        elif place.is_dir() and any((place / mark).exists() for mark in ("dataset_info.json", "dataset_dict.json")):
            found = datasets.load_from_disk(str(place))
        elif place.is_dir():
            found = datasets.load_dataset(str(place), name)
        else:
            found = _file(place, encoding=encoding)
    except Exception as error:
        raise refuse(
            f"data.path={path} cannot be read: {_reason(error)}", fix="data.encoding=cp1252" if _garbled(error) else ""
        ) from error
    return (
        {str(split): one for split, one in found.items()}
        if isinstance(found, datasets.DatasetDict)
        else {"train": found}
    )


def _file(path: Path, *, encoding: str) -> Any:
    import datasets

    kind = FILES.get(path.suffix.lower())
    if kind is None:
        raise ValueError(f"its ending is none of {', '.join(FILES)}")
    if path.stat().st_size == 0:
        raise ValueError("the file is empty")
    options: dict[str, Any] = {} if kind == "parquet" else {"encoding": encoding}
    # What is read stays in memory: the library would keep a copy of every file in the user's cache for ever.
    with tempfile.TemporaryDirectory() as cache:
        found: Any = datasets.load_dataset(kind, data_files=str(path), cache_dir=cache, keep_in_memory=True, **options)
    return found


def _reason(error: BaseException) -> str:
    """The first line of the innermost cause: the library's own outermost words say nothing."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{(str(error).splitlines() or [''])[0] or type(error).__name__}"


def _garbled(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, UnicodeError):
            return True
        error = error.__cause__
    return False


def undecoded(found: Mapping[str, Any], column: str) -> Mapping[str, Any]:
    """The same with a column of pictures as the bytes or paths that are stored, so that a damaged one can be named."""
    import datasets

    def cast(one: Any) -> Any:
        kind = one.features.get(column)
        return one.cast_column(column, datasets.Image(decode=False)) if isinstance(kind, datasets.Image) else one

    return {split: cast(one) for split, one in found.items()}
