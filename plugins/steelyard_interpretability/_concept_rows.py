# pyright: reportUnknownMemberType=false
"""The examples of a concept, from the validation split or from files."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from steelyard.adapters import Retelling
from steelyard.adapters.table import TableAdapter
from steelyard.data._pictures import SUFFIXES, read_picture
from steelyard.runs import Run
from steelyard_interpretability._concept_sets import COMPARED, split
from steelyard_interpretability._samples import SPLIT

UPPER = 0.75
"""Quantile of a column above which a row shows it."""


def inside(run: Run, words: str, numbers: Sequence[int]) -> list[int] | None:
    """Those of the validation examples that show the concept; None where it comes from files.

    Args:
        run: Whose data is looked at.
        words: `label:`, `column:` or `word:` and what it names.
        numbers: Places in the split.

    Raises:
        ValueError: If the data has no such thing.
    """
    kind, what = split(words)
    if kind == "label":
        return _labelled(run, what, numbers)
    if kind == "column":
        return _column(run, what, numbers)
    if kind == "word":
        return _worded(run, what, numbers)
    return None


def outside(run: Run, words: str, like: Any, *, most: int) -> Any:
    """A batch of examples from files, evenly spaced among them where there are more than `most`.

    Args:
        run: Whose adapter makes the batch.
        words: `folder:` or `rows:` and the path.
        like: A batch of the data, for everything that the files do not say.
        most: Examples.

    Raises:
        ValueError: If the files do not fit the data.
    """
    kind, what = split(words)
    path, adapter = Path(what).expanduser(), run.adapter
    view = adapter.inputs(run.task, like)
    if kind == "folder":
        return _put(run, like, _pictures(path, view, bounds=adapter.bounds, most=most))
    if path.suffix == ".txt":
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        if not isinstance(adapter, Retelling):
            raise ValueError(f"{words}: the data is no text")
        some = [lines[place] for place in _even(len(lines), most)]
        if not some:
            raise ValueError(f"{words}: the file has no line")
        return run.to_device(adapter.retold(_times(run, like, len(some)), some))
    array: Any = np.load(path, allow_pickle=False)
    if array.shape[1:] != tuple(view.shape[1:]) or not len(array):
        raise ValueError(f"{words}: has the shape {array.shape}, must be (N, {', '.join(map(str, view.shape[1:]))})")
    return _put(run, like, torch.as_tensor(array[_even(len(array), most)]).to(view))


def _labelled(run: Run, what: str, numbers: Sequence[int]) -> list[int]:
    adapter, targets = run.adapter, run.predict(SPLIT).targets
    if targets.dim() != 1:
        raise ValueError(f"label:{what}: the examples of this task have no one label")
    names = [*adapter.names]
    if what in names:
        number = names.index(what)
    elif re.fullmatch(r"\d+", what):
        number = int(what)
    else:
        raise ValueError(f"label:{what}: the classes are {', '.join(names) or 'numbers'}")
    return [place for place in numbers if int(targets[place]) == number]


def _column(run: Run, what: str, numbers: Sequence[int]) -> list[int]:
    adapter = run.adapter
    if not isinstance(adapter, TableAdapter):
        raise ValueError(f"column:{what}: the data is no table")
    view = adapter.inputs(run.task, run.batch(SPLIT, numbers)).cpu()
    columns = [*adapter.columns] or [str(number) for number in range(view.shape[1])]
    compared = None if what in columns else COMPARED.fullmatch(what)
    name = what if compared is None else compared["name"]
    if name not in columns:
        raise ValueError(f"column:{what}: the columns are {', '.join(columns)}")
    values = view[:, columns.index(name)]
    if compared is None:
        shows = values > values.double().quantile(UPPER)
    else:
        limit = float(compared["value"])
        shows = values > limit if compared["sign"] == ">" else values < limit
    return [place for place, there in zip(numbers, shows, strict=True) if there]


def _worded(run: Run, what: str, numbers: Sequence[int]) -> list[int]:
    if not isinstance(run.adapter, Retelling):
        raise ValueError(f"word:{what}: the data is no text")
    texts = run.adapter.texts(SPLIT)
    word = re.compile(rf"(?<!\w){re.escape(what)}(?!\w)", re.IGNORECASE)
    return [place for place in numbers if word.search(texts[place])]


def _pictures(folder: Path, view: Tensor, *, bounds: tuple[float, float] | None, most: int) -> Tensor:
    if view.dim() != 4 or view.shape[1] not in (1, 3) or view.shape[2] != view.shape[3] or bounds != (0.0, 1.0):
        raise ValueError(f"folder:{folder}: the data are no square pictures of values from 0 to 1")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        raise ValueError(f"folder:{folder}: no picture in it")
    read = [
        read_picture(files[place], size=view.shape[2], channels=view.shape[1], where=str(files[place]))
        for place in _even(len(files), most)
    ]
    return torch.stack(read).to(view) / 255


def _put(run: Run, like: Any, inputs: Tensor) -> Any:
    return run.adapter.replace(_times(run, like, len(inputs)), inputs)


def _times(run: Run, like: Any, count: int) -> Any:
    return run.adapter.take(like, torch.zeros(count, dtype=torch.int64, device=run.device))


def _even(population: int, most: int) -> list[int]:
    count = min(population, most)
    return [place * population // count for place in range(count)]
