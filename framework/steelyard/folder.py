"""The run folder: made exclusively, written atomically, and honest about what became of the run."""

import contextlib
import fcntl
import json
import os
import shutil
import socket
import time
from collections.abc import Generator
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

STATUS, LOCK, RESERVE = "status.json", ".lock", ".reserve"
# Room for the last words of a run on a full disk.
RESERVED_BYTES = 64 * 1024


class State(StrEnum):
    """What became of a run."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    REFUSED = "refused"
    INTERRUPTED = "interrupted"
    TERMINATED = "terminated"
    PRUNED = "pruned"
    """A search gave it up, since others were better at the same step."""
    KILLED = "killed"
    """It says `running`, but no process holds its lock: kill -9, a crash of the machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """The content of status.json.

    Attributes:
        state: What became of the run.
        exit_code: What the process returned; None while it runs or if it was killed.
        message: Why, in a line.
        started: Seconds since the epoch.
        ended: Seconds since the epoch, or None.
        pid: Process.
        host: Machine.
        resumed: How often the run was taken up again.
    """

    state: State
    exit_code: int | None = None
    message: str = ""
    started: float = 0.0
    ended: float | None = None
    pid: int = 0
    host: str = ""
    resumed: int = 0


@contextlib.contextmanager
def replacing(path: Path) -> Generator[IO[bytes]]:
    """A file to write that takes the place of `path` when all of it is safe on the disk.

    Readers see the old file or the new one, and a crash leaves no torso.

    Raises:
        OSError: If it cannot be written (no space, no right); nothing half-written stays behind.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        # torch reports a full disk from inside its zip writer as a RuntimeError; the OSError is its context.
        cause = error.__context__ if isinstance(error.__context__, OSError) else error
        if isinstance(cause, OSError):
            # The user knows the file by its own name, not by the temporary one.
            raise OSError(cause.errno, os.strerror(cause.errno or 0), str(path)) from error
        raise


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a file by `replacing` it."""
    with replacing(path) as file:
        file.write(data)


def write_json(path: Path, data: Any) -> None:
    """Writes `data` as indented JSON, atomically."""
    write_atomically(path, (json.dumps(data, indent=2, ensure_ascii=False, default=str) + "\n").encode())


def read_json(path: Path) -> Any:
    """The content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def create(outputs: Path, name: str) -> Path:
    """Makes `outputs/name`, or `outputs/name-2` and so on where another run was faster.

    Raises:
        OSError: If the folder cannot be made.
    """
    outputs.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, 10_000):
        folder = outputs / (name if attempt == 1 else f"{name}-{attempt}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise FileExistsError(f"{outputs / name} and 9,999 more exist")


class Journal:
    """Writes status.json of one run while holding its lock; made by `opened`."""

    def __init__(self, folder: Path, lock: IO[bytes], *, resumed: int) -> None:
        self.folder = folder
        self._lock = lock
        self._status = RunStatus(
            state=State.RUNNING, started=time.time(), pid=os.getpid(), host=socket.gethostname(), resumed=resumed
        )
        write_atomically(folder / RESERVE, os.urandom(RESERVED_BYTES))
        self._write()

    def end(self, state: State, *, exit_code: int, message: str = "") -> None:
        """Writes the last words; the reserve is given up first, so that a full disk does not mute them."""
        with contextlib.suppress(OSError):
            (self.folder / RESERVE).unlink()
        self._status = replace(self._status, state=state, exit_code=exit_code, message=message, ended=time.time())
        self._write()

    def try_end(self, state: State, *, exit_code: int, message: str = "") -> None:
        """The same while another error is under way, which a full disk must not hide."""
        with contextlib.suppress(OSError):
            self.end(state, exit_code=exit_code, message=message)

    def _write(self) -> None:
        write_json(self.folder / STATUS, asdict(self._status))


@contextlib.contextmanager
def opened(folder: Path) -> Generator[Journal]:
    """Holds the folder's lock for the length of a run; the kernel lets go of it however the process ends.

    Raises:
        BlockingIOError: If another process is at work in the folder.
    """
    with (folder / LOCK).open("ab") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BlockingIOError(f"{folder}: another process is at work here (steelyard status {folder})") from None
        earlier = _read(folder)
        yield Journal(folder, lock, resumed=earlier.resumed + 1 if earlier else 0)


def conclude(folder: Path, state: State, *, exit_code: int, message: str) -> None:
    """Writes the last words of a run whose process is gone, on its behalf."""
    found = _read(folder)
    if found is None:
        raise FileNotFoundError(f"{folder} is no run folder: it has no {STATUS}")
    with contextlib.suppress(OSError):
        (folder / RESERVE).unlink()
    last = replace(found, state=state, exit_code=exit_code, message=message, ended=time.time())
    write_json(folder / STATUS, asdict(last))


def status(folder: Path) -> RunStatus:
    """What became of the run in `folder`.

    Raises:
        FileNotFoundError: If it is no run folder.
    """
    found = _read(folder)
    if found is None:
        raise FileNotFoundError(f"{folder} is no run folder: it has no {STATUS}")
    if found.state is State.RUNNING and not _locked(folder):
        return replace(found, state=State.KILLED, message="the process is gone without a word")
    return found


def discard(folder: Path) -> None:
    """Removes the folder of a run that was refused: nothing half-written stays behind."""
    shutil.rmtree(folder, ignore_errors=True)


def _read(folder: Path) -> RunStatus | None:
    path = folder / STATUS
    if not path.exists():
        return None
    data = read_json(path)
    data["state"] = State(data["state"])
    return RunStatus(**data)


def _locked(folder: Path) -> bool:
    path = folder / LOCK
    if not path.exists():
        return False
    # A record lock is seen by other processes only; closing the file would drop our own, so ask the status first.
    with path.open("ab") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        fcntl.lockf(lock, fcntl.LOCK_UN)
        return False
