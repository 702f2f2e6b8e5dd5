"""What can be wrong with a single measurement, picture, sound or table."""

import io
import wave
from collections.abc import Iterator

from matplotlib.image import imread

from steelyard.measurement import Artefact, Measurement, Sound, Table
from steelyard.runs import SPLITS


def point(item: Measurement | Artefact) -> tuple[str, ...]:
    """What tells one item from another."""
    if isinstance(item, Measurement):
        return item.name, *(f"{name}={value}" for name, value in sorted(item.at.items()))
    return type(item).__name__, item.name


def faults(row: Measurement) -> Iterator[str]:
    """What cannot be stored in it, or judged."""
    where = " ".join(point(row))
    numbers = {"value": row.value, "level": row.level, "count": row.count}
    if row.interval is not None:
        numbers |= {"lower end": row.interval[0], "upper end": row.interval[1]}
    for name, number in numbers.items():
        if number is not None and type(number) not in (int, float):
            yield f"{where}: its {name} is a {type(number).__name__}, write float(...) or int(...)"
        elif number is not None and abs(number) == float("inf"):
            yield f"{where}: its {name} is infinite, leave the interval out or say why in an invalid measurement"
    for name, value in row.at.items():
        if type(value) not in (int, float, str):
            yield f"{where}: at {name} is a {type(value).__name__}, write float(...) or str(...)"
    if not 0 < row.level < 1:
        yield f"{where}: its level is {row.level}, must be between 0 and 1"
    if row.count is not None and row.count < 1:
        yield f"{where}: its count is {row.count}; what nobody looked at is skipped"
    if row.split is not None and row.split not in SPLITS:
        yield f"{where}: its split is {row.split!r}, must be one of {', '.join(SPLITS)}"
    if row.bounds is not None and row.bounds.count(".") < 2:
        yield f"{where}: it bounds {row.bounds!r}, must be a full name <challenge>.<plugin>.<metric>"


def unshowable(item: Artefact) -> Iterator[str]:
    """What cannot be shown in it."""
    if not item.title.strip():
        yield f"{item.name}: it needs a title"
    if item.split is not None and item.split not in SPLITS:
        yield f"{item.name}: its split is {item.split!r}, must be one of {', '.join(SPLITS)}"
    if isinstance(item, Table):
        cells = {type(cell).__name__ for row in item.rows for cell in row}
        for strange in sorted(cells - {"str", "float", "int", "bool", "NoneType"}):
            yield f"{item.name}: a cell is a {strange}, write str(...), float(...) or int(...)"
        return
    if not item.alt.strip():
        yield f"{item.name}: say in `alt` what it shows, for those who do not see it"
    kind = "wav" if isinstance(item, Sound) else "png"
    try:
        if isinstance(item, Sound):
            wave.open(io.BytesIO(item.wav), "rb").close()
        else:
            imread(io.BytesIO(item.png), format="png")
    except Exception as error:  # a decoder raises whatever it likes
        yield f"{item.name}: its {kind} cannot be decoded: {error}"
