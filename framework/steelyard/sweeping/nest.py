"""A process that does nothing but fork trials.

A sweep writes to its memory between two forks: it reads what trials say, and finds the words of the next. After each
fork every page it writes to is copied once more, and lies outside the huge pages from then on, so that the next fork
has a longer table to copy. A process that only waits and forks writes to a few pages, and several of them fork side by
side.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing import connection
from typing import Any

from steelyard.sweeping.forked import Send, die_with, end_of, held, live, pass_on


@dataclass(frozen=True, slots=True)
class Begun:
    """What a trial says first.

    Attributes:
        pid: Its process, and its process group.
    """

    pid: int


@dataclass(frozen=True, slots=True)
class Over:
    """What is said last of a trial that has ended.

    Attributes:
        status: As `os.wait` gives it.
        cpu_seconds: User and system time.
    """

    status: int
    cpu_seconds: float


class Nest:
    """Forks one trial after another, as this process is now.

    Args:
        work: What a trial does with its order; its return value is the exit code.
        threads: For each trial's own computing.
        device: A CUDA device for it; None to leave them alone.

    Attributes:
        line: To the nest, and to its trial while there is one.
        end: To be waited for until the nest is gone; None where the system has nothing of the kind.
    """

    def __init__(self, work: Callable[[Any, Send], int], *, threads: int, device: str | None) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        self.line, theirs = connection.Pipe()
        with held():
            parent, self._pid = os.getpid(), os.fork()
            if not self._pid:
                self.line.close()
                _brood(work, theirs, parent=parent, threads=threads, device=device)
            theirs.close()
        self.end = end_of(self._pid)

    def order(self, what: Any) -> None:
        """Has a trial forked; one that is gone hears nothing, and is seen to be gone."""
        with contextlib.suppress(OSError):
            self.line.send(what)

    def is_gone(self) -> bool:
        """True once its process has ended."""
        return os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def close(self) -> int:
        """Ends it, and its trial with it; its status, as `os.wait` gives it."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        _, status = os.waitpid(self._pid, 0)
        self.line.close()
        if self.end is not None:
            os.close(self.end)
        return status


def _brood(
    work: Callable[[Any, Send], int], line: Any, *, parent: int, threads: int, device: str | None
) -> None:  # pragma: no cover - in a fork
    """The nest's own process; never returns."""
    code = 3
    try:
        # What the terminal says is for the sweep, which ends its nests.
        os.setpgid(0, 0)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        die_with(parent)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))
        own = os.getpid()
        while True:
            order = line.recv()
            pid = os.fork()
            if not pid:
                live(partial(_hatched, work, order), line, parent=own, threads=threads, device=device)
            # What it started and left behind goes with it, while its number is still its own.
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            pass_on(pid, signal.SIGKILL)
            _, status, usage = os.wait4(pid, 0)
            line.send(Over(status, usage.ru_utime + usage.ru_stime))
    except EOFError:
        code = 0
    finally:
        os._exit(code)


def _hatched(work: Callable[[Any, Send], int], order: Any, send: Send) -> int:
    send(Begun(os.getpid()))
    return work(order, send)
