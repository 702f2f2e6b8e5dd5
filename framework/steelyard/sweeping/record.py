"""sweep.json: what a sweep is made of, written before its first trial starts, so that it can be taken up again."""

import contextlib
import fcntl
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from steelyard import folder, spec
from steelyard.composing import Trial
from steelyard.folder import State
from steelyard.problem import refuse
from steelyard.sweeping import code

FILE = "sweep.json"
EARLIER = ".earlier"
"""Where what a trial left behind goes when it is run again; nobody counts it as a run of the sweep."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The content of sweep.json.

    Attributes:
        verb: run or weigh.
        checkpoint: What `weigh` weighs, or None.
        words: The command line's overrides, secrets masked.
        folders: With YAML of the user's own.
        specs: Trial number -> hash of its config; "" of a trial that was refused.
    """

    verb: str
    words: tuple[str, ...]
    folders: tuple[str, ...] = ()
    checkpoint: str | None = None
    specs: Mapping[str, str]

    def write(self, place: Path) -> None:
        """Writes it, atomically."""
        folder.write_json(place / FILE, asdict(self))


def read(place: Path) -> Record:
    """The record of a sweep.

    Raises:
        Refused: If it cannot be read, or if a secret in it was not kept.
    """
    try:
        found: dict[str, Any] = folder.read_json(place / FILE)
        found |= {name: tuple(found[name]) for name in ("words", "folders")}
        record = Record(**found)
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise refuse(f"{place} cannot be resumed: {error}") from error
    hidden = [word.partition("=")[0] for word in record.words if word.endswith(f"={spec.MASK}")]
    if hidden:
        fix = f"{hidden[0]}='${{oc.env:MY_SECRET}}'"
        raise refuse(f"{hidden[0]} is a secret and was not kept", fix=f"run again with {fix}")
    return record


@contextlib.contextmanager
def held(place: Path) -> Generator[None]:
    """Holds the sweep's lock.

    Raises:
        Refused: If another process is at work in the folder.
    """
    with (place / folder.LOCK).open("ab") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise refuse(f"another process is at work in {place}", fix=f"steelyard status {place}") from None
        yield


def hashes(trials: Sequence[Trial]) -> dict[int, str]:
    """Trial number -> hash of its config."""
    return {trial.number: spec.spec_hash(trial.composed.config) if trial.composed else "" for trial in trials}


def is_finished(place: Path, spec_hash: str, before: Record, *, rerun: str) -> bool:
    """True if the trial in `place` ended with a scorecard and is still the one that is asked for."""
    if before.specs.get(place.name) != spec_hash or rerun == "all":
        return False
    try:
        found = folder.status(place)
    except (FileNotFoundError, ValueError, TypeError):
        return False
    if found.state is not State.DONE or found.exit_code not in (0, 1):
        return False
    return not (rerun == "changed" and code.changed(place))


def goes_on(place: Path, spec_hash: str, before: Record) -> bool:
    """True if the same trial was stopped, and kept a checkpoint to go on from."""
    return before.specs.get(place.name) == spec_hash and _was_stopped(place)


def _was_stopped(place: Path) -> bool:
    if not (place / "checkpoints" / "last.ckpt").exists():
        return False
    try:
        return folder.status(place).state in (State.INTERRUPTED, State.TERMINATED, State.KILLED)
    except (FileNotFoundError, ValueError, TypeError):
        return False


def is_running(place: Path) -> bool:
    """True while a process is at work in the run folder."""
    try:
        return folder.status(place).state is State.RUNNING
    except (FileNotFoundError, ValueError, TypeError):
        return False


def ended_before(place: Path, number: int, *, look: float) -> int | None:
    """Lets a trial run once more that was called off: one that kept a checkpoint goes on from it.

    Args:
        place: The sweep folder.
        number: The trial.
        look: Seconds between two looks at one that is still at work in another process, and is waited for.

    Returns:
        Its exit code if it has come to an end already, so that it must not run again; else None.
    """
    own = place / str(number)
    while is_running(own):
        time.sleep(look)
    try:
        found = folder.status(own)
    except (FileNotFoundError, ValueError, TypeError):
        found = None
    if found is not None and found.state is State.DONE:
        return found.exit_code
    if not _was_stopped(own):
        set_aside(own)
    return None


def set_aside(place: Path) -> None:
    """Makes room for a trial that is run again."""
    if place.exists():
        place.rename(folder.create(place.parent / EARLIER, place.name))
