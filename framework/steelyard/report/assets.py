"""Pictures, tables and sounds of a run folder, brought into the page itself."""

import base64
import csv
import struct
from dataclasses import dataclass, replace
from pathlib import Path

from steelyard.report.panels import ShownPanel, panel
from steelyard.report.words import dataset
from steelyard.scorecard import StoredArtefact

MOST_ROWS = 40
PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownPicture:
    """A picture inside the page.

    Attributes:
        title: What it shows.
        alt: The picture in words.
        uri: The PNG as a data URI; "" where the file is missing.
        split: The data that it shows, or "".
        path: Where it lies in the run folder.
        broad: More than twice as wide as high: it needs the whole width, and scrolls on a phone.
        panel: What is known of how far it can be trusted.
    """

    title: str
    alt: str
    uri: str
    split: str
    path: str
    broad: bool = False
    panel: ShownPanel | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownTable:
    """A table inside the page.

    Attributes:
        title: What it lists.
        columns: Heads.
        rows: At most `MOST_ROWS`.
        more: Rows that only the file has; None where the file is missing.
        split: The data that it shows, or "".
        path: Where it lies in the run folder.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]
    more: int | None
    split: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownSound:
    """A sound inside the page.

    Attributes:
        title: What is heard.
        alt: The sound in words.
        uri: The WAV as a data URI; "" where the file is missing.
        split: The data that is heard, or "".
        path: Where it lies in the run folder.
    """

    title: str
    alt: str
    uri: str
    split: str
    path: str


def picture(folder: Path, artefact: StoredArtefact) -> ShownPicture:
    """The picture as a data URI."""
    data = _read(folder, artefact.path)
    shown = inline(
        data or b"", title=artefact.title, alt=artefact.alt, split=dataset(artefact.split), path=artefact.path
    )
    return replace(shown, panel=panel(artefact.panel))


def inline(png: bytes, *, title: str, alt: str, split: str, path: str) -> ShownPicture:
    """PNG bytes as a data URI; what is no PNG is left out and its path named."""
    good = png.startswith(PNG) and len(png) > 24
    # The head of a PNG holds width and height as two big-endian words.
    width, height = struct.unpack(">II", png[16:24]) if good else (1, 1)
    return ShownPicture(
        title=title,
        alt=alt or title,
        uri=f"data:image/png;base64,{base64.b64encode(png).decode()}" if good else "",
        split=split,
        path=path,
        broad=width > 2 * height,
    )


def sound(folder: Path, artefact: StoredArtefact) -> ShownSound:
    """The sound as a data URI."""
    data = _read(folder, artefact.path)
    return audible(
        data or b"", title=artefact.title, alt=artefact.alt, split=dataset(artefact.split), path=artefact.path
    )


def audible(wav: bytes, *, title: str, alt: str, split: str, path: str) -> ShownSound:
    """WAV bytes as a data URI; what is no WAV is left out and its path named."""
    good = wav.startswith(b"RIFF") and wav[8:12] == b"WAVE"
    return ShownSound(
        title=title,
        alt=alt,
        uri=f"data:audio/wav;base64,{base64.b64encode(wav).decode()}" if good else "",
        split=split,
        path=path,
    )


def table(folder: Path, artefact: StoredArtefact) -> ShownTable:
    """The first rows of the table."""
    data = _read(folder, artefact.path)
    lines = list(csv.reader(data.decode("utf-8", "replace").splitlines())) if data is not None else []
    columns, rows = (lines[0], lines[1:]) if lines else ([], [])
    return ShownTable(
        title=artefact.title,
        columns=columns,
        rows=rows[:MOST_ROWS],
        more=None if data is None else max(0, len(rows) - MOST_ROWS),
        split=dataset(artefact.split),
        path=artefact.path,
    )


def _read(folder: Path, path: str) -> bytes | None:
    """The file's bytes; None where it is missing or lies outside the folder."""
    file = (folder / path).resolve()
    if not file.is_relative_to(folder.resolve()) or not file.is_file():
        return None
    return file.read_bytes()
