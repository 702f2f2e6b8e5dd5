"""The ledger: what all private trainings on the same data have cost together.

One JSON object a line, only ever appended, under a lock, each carrying the hash of the one before. Steps are written
down before they are taken, some at a time, so that those of a killed process count as well; a training that ends in
order then says how many it took. The last line of each leg (one process training) is the one that counts.
"""

import fcntl
import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, final

from steelyard_privacy._pld import Part

NAME = "privacy_ledger.jsonl"
OUTPUTS = "outputs"
START = "0" * 64
LONGEST = 4096
"""Bytes, more than any line has."""


class Tampered(ValueError):
    """A line of the ledger was changed, left out or put in afterwards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """The training of one process on some data, as far as the ledger knows.

    Attributes:
        name: Random.
        data: Fingerprint of the data set.
        rate: Sampling rate.
        noise_multiplier: Noise over the clipping norm.
        steps: Steps that it took, or may have taken before it was killed.
        ended: True if `steps` is what it took.
    """

    name: str
    data: str
    rate: float
    noise_multiplier: float
    steps: int
    ended: bool


def beside_outputs(root: Path) -> Path:
    """Where the ledger is by default.

    Args:
        root: The run folder, directly in the outputs or in a sweep's folder there.
    """
    root = root.absolute()
    if root == Path.cwd():
        return root / OUTPUTS / NAME
    return next((folder for folder in root.parents if folder.name == OUTPUTS), root.parent) / NAME


def read(path: Path) -> list[Leg]:
    """All legs, in the order in which they began.

    Raises:
        Tampered: If a line is not the one that was written.
    """
    if not path.exists():
        return []
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        return list(_legs(file).values())


def parts(legs: Iterable[Leg], *, data: str) -> tuple[Part, ...]:
    """The private steps on one data set, alike ones together, for the accountant."""
    steps: dict[tuple[float, float], int] = {}
    for leg in legs:
        if leg.data == data and leg.steps:
            key = (leg.rate, leg.noise_multiplier)
            steps[key] = steps.get(key, 0) + leg.steps
    return tuple(Part(rate=rate, noise_multiplier=noise, steps=count) for (rate, noise), count in sorted(steps.items()))


@final
class Writer:
    """Writes one leg.

    Args:
        path: The ledger; made with its folder where it is missing.
        data: Fingerprint of the data set.
        rate: Sampling rate.
        noise_multiplier: Noise over the clipping norm.
        stride: How many steps are written down at once before they are taken.

    Raises:
        Tampered: If the ledger that is there was changed.
    """

    def __init__(self, path: Path, *, data: str, rate: float, noise_multiplier: float, stride: int) -> None:
        self._path = path
        self._stride = stride
        self._known: dict[str, Any] = {
            "leg": uuid.uuid4().hex,
            "data": data,
            "rate": rate,
            "noise_multiplier": noise_multiplier,
        }
        self._taken: int = 0
        self._written: int = 0
        read(path)

    def step(self) -> None:
        """Counts a step that is about to be taken; it is on the disk when this returns."""
        if self._taken == self._written:
            self._append(steps=self._written + self._stride, ended=False)
            self._written += self._stride
        self._taken += 1

    def close(self) -> None:
        """Says how many steps were taken."""
        if self._written:
            self._append(steps=self._taken, ended=True)
            self._written = 0

    def _append(self, *, steps: int, ended: bool) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            line = {**self._known, "steps": steps, "ended": ended, "time": time.time(), "previous": _last_hash(file)}
            file.write(json.dumps({**line, "hash": _hash(line)}).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def _hash(line: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(line, sort_keys=True).encode()).hexdigest()


def _last_hash(file: IO[bytes]) -> str:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - LONGEST))
    whole, newline, torn = file.read().rpartition(b"\n")
    if torn:
        # A process died while it wrote this line, so that none of its steps were taken.
        file.truncate(size - len(torn))
    return str(json.loads(whole.rpartition(b"\n")[2])["hash"]) if newline else START


def _legs(file: IO[bytes]) -> dict[str, Leg]:
    found: dict[str, Leg] = {}
    previous = START
    for number, raw in enumerate(file.read().split(b"\n")[:-1], start=1):
        try:
            line: dict[str, Any] = json.loads(raw)
            claimed = line.pop("hash")
            leg = Leg(
                name=line["leg"],
                data=line["data"],
                rate=float(line["rate"]),
                noise_multiplier=float(line["noise_multiplier"]),
                steps=int(line["steps"]),
                ended=bool(line["ended"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Tampered(f"line {number} is damaged") from error
        if claimed != _hash(line) or line.get("previous") != previous:
            raise Tampered(f"line {number} is not the one that was written")
        previous = claimed
        found[leg.name] = leg
    return found
