"""A trial on its way to another process or machine, which sees the same files."""

import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from steelyard import folder
from steelyard.sweeping import record
from steelyard.sweeping.forked import Send
from steelyard.sweeping.pool import Ended, Pool, Told
from steelyard.sweeping.progress import Progressed

EVERY = 0.5
"""Seconds between two looks at a trial, and between two words of its progress."""


def progress_file(place: Path, number: int) -> Path:
    """Where a trial tells how far it is."""
    return place / f".{number}.progress"


@dataclass(kw_only=True)
class Parcel:
    """One trial; calling it runs the trial in a process of its own, forked from the one that is called.

    So the caller may be a worker that takes one parcel after another: it has imported the libraries once, and no trial
    can spoil the next.

    Attributes:
        number: The trial.
        work: What it does.
        place: The sweep folder.
        threads: For its computing.
        seconds: Its time limit; None for none.
        cwd: The folder that the sweep was started in.
        path: Where the sweep finds modules.
    """

    number: int
    work: Callable[[Send], int]
    place: Path
    threads: int
    seconds: float | None
    cwd: str = field(default_factory=os.getcwd)
    path: tuple[str, ...] = field(default_factory=lambda: tuple(sys.path))

    def __call__(self) -> Ended:
        """Runs it to its end."""
        os.chdir(self.cwd)
        sys.path.extend(one for one in self.path if one not in sys.path)
        # A job may come twice: it was sent again, or the sweep was taken up while this one still stood in the queue.
        before = record.ended_before(self.place, self.number, look=EVERY)
        if before is not None:
            return Ended(number=self.number, code=before, signal=None, seconds=0.0, cpu_seconds=0.0, overdue=False)
        pool = self._pool = Pool(workers=1, threads=self.threads, seconds=self.seconds)
        pool.start(self.number, self.work)
        ended: Ended | None = None
        try:
            while pool.busy:
                for event in pool.poll(EVERY):
                    match event:
                        case Told(what=Progressed() as progressed):
                            self._tell(progressed)
                        case Ended():
                            ended = event
                        case _:
                            pass
        finally:
            pool.kill()
            progress_file(self.place, self.number).unlink(missing_ok=True)
        assert ended is not None
        return ended

    def checkpoint(self, *args: Any, **given: Any) -> Any:
        """What submitit asks for before a time limit or a preemption: the trial keeps what it has, and is sent again.

        The trial hears SIGTERM, writes its checkpoint if it has one, and goes on from that when it is called anew.
        """
        from submitit.helpers import DelayedSubmission

        del args, given
        self._pool.stop(signal.SIGTERM)
        while self._pool.busy:
            list(self._pool.poll(EVERY))
        del self._pool
        return DelayedSubmission(self)

    def _tell(self, progressed: Progressed) -> None:
        with suppress(OSError):
            folder.write_json(progress_file(self.place, self.number), asdict(progressed))


def read_progress(place: Path, number: int) -> Progressed | None:
    """How far a trial is; None where nobody knows."""
    try:
        return Progressed(**json.loads(progress_file(place, number).read_text()))
    except (OSError, ValueError, TypeError):
        return None
