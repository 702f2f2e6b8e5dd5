"""Annotations of detection in COCO's format (Lin et al. 2014), checked row by row."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steelyard.narrowing import is_mapping, is_sequence
from steelyard.problem import Refused, refuse

PARTS = ("images", "annotations", "categories")


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    """One object.

    Attributes:
        row: Where it stands, for messages.
        kind: Its class, from 0.
        box: Left, top, width and height in pixels of the picture.
    """

    row: str
    kind: int
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotations:
    """What a file of annotations says.

    Attributes:
        names: What the classes are called, in the order of the file.
        files: The file name of each picture.
        objects: The objects of each picture; there may be none.
    """

    names: tuple[str, ...]
    files: tuple[str, ...]
    objects: tuple[tuple[Marked, ...], ...]


def read_annotations(path: Path) -> Annotations:
    """Reads and checks a file. Crowds (`iscrowd`), whose single objects nobody has marked, are left out.

    Raises:
        Refused: Naming the file and the row at fault.
    """
    parts = _parts(path)
    kinds: dict[Any, int] = {}
    names: list[str] = []
    for number, row in enumerate(parts["categories"], start=1):
        where = f"{path}, category {number}"
        kinds[_new(_value(row, "id", where), kinds, where)] = len(names)
        names.append(str(_value(row, "name", where)))
    files: dict[Any, str] = {}
    for number, row in enumerate(parts["images"], start=1):
        where = f"{path}, image {number}"
        files[_new(_value(row, "id", where), files, where)] = str(_value(row, "file_name", where))
    objects: dict[Any, list[Marked]] = {key: [] for key in files}
    for number, row in enumerate(parts["annotations"], start=1):
        where = f"{path}, annotation {number}"
        picture, kind = _value(row, "image_id", where), _value(row, "category_id", where)
        if picture not in objects:
            raise _damaged(f"{where} belongs to the image {picture!r}, which is not in the file")
        if kind not in kinds:
            raise _damaged(f"{where} is of the class {kind!r}, which is not among the categories {[*kinds]}")
        if not row.get("iscrowd"):
            objects[picture].append(Marked(row=where, kind=kinds[kind], box=_box(_value(row, "bbox", where), where)))
    if not any(objects.values()):
        raise _damaged(f"{path} marks no object in any of its {len(files)} images")
    return Annotations(
        names=tuple(names), files=tuple(files.values()), objects=tuple(tuple(some) for some in objects.values())
    )


def _parts(path: Path) -> Mapping[str, Sequence[Any]]:
    if not path.is_file():
        raise refuse(f"there is no file of annotations {path}", fix="data.annotations=FILE.json")
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise _damaged(f"{path} is no JSON: {error}") from error
    if not is_mapping(content) or not all(is_sequence(content.get(part)) for part in PARTS):
        raise _damaged(f"{path} must hold the lists {', '.join(PARTS)}")
    if not content["images"] or not content["categories"]:
        raise _damaged(f"{path} has {len(content['images'])} images and {len(content['categories'])} categories")
    return content


def _value(row: Any, key: str, where: str) -> Any:
    if not is_mapping(row) or key not in row:
        raise _damaged(f"{where} has no {key}")
    value: Any = row[key]
    if key != "bbox" and not isinstance(value, str | int | float):
        raise _damaged(f"{where}: {key} is {value!r}, must be a number or a word")
    return value


def _new(key: Any, known: Mapping[Any, Any], where: str) -> Any:
    if key in known:
        raise _damaged(f"{where} has the id {key!r} of an earlier one")
    return key


def _box(value: Any, where: str) -> tuple[float, float, float, float]:
    if not is_sequence(value) or len(value) != 4 or not all(isinstance(part, int | float) for part in value):
        raise _damaged(f"{where}: bbox is {value!r}, must be [left, top, width, height]")
    left, top, width, height = map(float, value)
    if not all(map(math.isfinite, (left, top, width, height))) or width <= 0 or height <= 0:
        raise _damaged(f"{where}: bbox is {[*value]}, which has no area")
    return left, top, width, height


def _damaged(message: str) -> Refused:
    return refuse(message, fix="data.annotations=FILE.json")
