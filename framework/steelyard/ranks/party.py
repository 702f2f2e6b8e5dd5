"""The process that launches the ranks of a run, waits for them, and ends them all when one is lost.

Ranks are forked from here with the config as it is: nothing is composed again, and nobody reads the words of the
command line a second time. They take no port, and none outlives this process.
"""

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing import connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from steelyard import short_memory
from steelyard.problem import Refused, refuse
from steelyard.ranks.rank import Rank
from steelyard.stopping import Pruned, terminable
from steelyard.sweeping.forked import die_with

GRACE = 3.0
"""Seconds that a rank has to end after it was told to, before it is killed."""
_LOOK = 0.2


class Lost(RuntimeError):
    """A rank failed, or ended without a word; the others were ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Talk:
    """A rank's line to the process that launched it.

    Attributes:
        rank: Which one this is.
        line: The line.
    """

    rank: Rank
    line: "connection.Connection[Any, Any]"

    def tell(self, what: Any) -> None:
        """Sends anything that pickles."""
        self.line.send(("told", what))

    def hear(self) -> Any:
        """Waits for what the launching process says."""
        return self.line.recv()


@dataclass(slots=True)
class _Member:
    pid: int
    line: "connection.Connection[Any, Any]"
    words: deque[Any] = field(default_factory=deque[Any])
    silent: bool = False
    code: int | None = None


class Party:
    """The ranks of one run.

    Args:
        count: How many.
        work: What each does.
    """

    def __init__(self, count: int, work: Callable[[Talk], None]) -> None:
        self._count, self._work = count, work
        self._members: list[_Member] = []
        self._place = ""

    def __enter__(self) -> Self:
        torch: Any = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            raise refuse(
                "this process has used CUDA already, and no rank can be forked from it",
                fix="start the run in a process of its own",
            )
        self._place = tempfile.mkdtemp(prefix="steelyard-")
        try:
            for number in range(self._count):
                rank = Rank(number=number, count=self._count, meeting=Path(self._place) / "meeting")
                self._members.append(self._fork(rank))
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill(grace=0.0 if kind is None else GRACE)
        shutil.rmtree(self._place, ignore_errors=True)

    def say(self, what: Any, *, to: Sequence[int] | None = None) -> None:
        """Says something to some ranks, or to all."""
        for number in range(self._count) if to is None else to:
            with contextlib.suppress(OSError):
                self._members[number].line.send(what)

    def hear(self, number: int) -> Any:
        """Waits for the next word of one rank.

        Raises:
            Refused: If a rank was refused.
            Pruned: If a search gave the run up.
            Lost: If any rank fails or ends before.
        """
        member = self._members[number]
        while True:
            self._listen()
            if member.words:
                return member.words.popleft()
            self._look(waiting_for=number)
            connection.wait([one.line for one in self._members if not one.silent], _LOOK)

    def end(self) -> None:
        """Waits until all ranks have ended.

        Raises:
            Lost: If one of them did not end well.
        """
        while any(one.code is None for one in self._members):
            self._look(waiting_for=None)
            time.sleep(0.01)

    def kill(self, *, grace: float = 0.0) -> None:
        """Ends all ranks that are left, and waits until they are gone."""
        left = [one for one in self._members if one.code is None]
        if grace and left:
            for one in left:
                _signal(one.pid, signal.SIGTERM)
            until = time.monotonic() + grace
            while time.monotonic() < until and any(self._reaped(one) is None for one in left):
                time.sleep(0.02)
        for one in left:
            if self._reaped(one) is None:
                _signal(one.pid, signal.SIGKILL)
                _, status = os.waitpid(one.pid, 0)
                one.code = os.waitstatus_to_exitcode(status)
        for one in self._members:
            one.line.close()

    def _listen(self) -> None:
        """Takes in all that was said; raises what ended the first rank that ended badly."""
        ends: list[tuple[float, int, BaseException]] = []
        for number, one in enumerate(self._members):
            try:
                while not one.silent and one.line.poll(0):
                    kind, what = one.line.recv()
                    if kind == "told":
                        one.words.append(what)
                    else:
                        when, error = what
                        ends.append((when, number, error if isinstance(error, BaseException) else _lost(number, error)))
            except (EOFError, OSError):
                one.silent = True
        if ends:
            # A rank that was killed could say nothing, and the others fail because it is gone.
            self._blame_the_killed()
            raise min(ends, key=lambda one: one[:2])[2]

    def _look(self, *, waiting_for: int | None) -> None:
        """Raises if a rank has failed, or has ended while others are still waited for."""
        for number, one in enumerate(self._members):
            heard = one.code is not None and number != waiting_for
            code = None if heard else self._reaped(one)
            if code is None:
                continue
            # Its last words are in the line still.
            self._listen()
            self._blame_the_killed()
            if code != 0 or (number == waiting_for and not one.words):
                raise Lost(f"rank {number} left with {code}, so the run ends")

    def _blame_the_killed(self) -> None:
        for number, one in enumerate(self._members):
            code = self._reaped(one)
            if code is not None and code < 0:
                raise Lost(f"rank {number} was killed by {signal.Signals(-code).name}, so the run ends")

    def _reaped(self, one: _Member) -> int | None:
        if one.code is None:
            pid, status = os.waitpid(one.pid, os.WNOHANG)
            if pid:
                one.code = os.waitstatus_to_exitcode(status)
        return one.code

    def _fork(self, rank: Rank) -> _Member:
        sys.stdout.flush()
        sys.stderr.flush()
        mine, its = connection.Pipe()
        parent, pid = os.getpid(), os.fork()
        if not pid:
            mine.close()
            _be(rank, its, self._work, parent=parent)
        its.close()
        return _Member(pid, mine)


def _be(rank: Rank, line: "connection.Connection[Any, Any]", work: Callable[[Talk], None], *, parent: int) -> None:
    """The forked process, from its first to its last step; never returns."""
    code = 3
    try:
        # Ctrl-C reaches the whole group; the launching process decides what comes of it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        die_with(parent)
        os.environ.update({"RANK": str(rank.number), "LOCAL_RANK": str(rank.number), "WORLD_SIZE": str(rank.count)})
        _settle(rank)
        with terminable():
            work(Talk(rank=rank, line=line))
        code = 0
    except (Refused, Pruned) as end:
        line.send(("ends", (time.monotonic(), end)))
        code = 2
    except Exception as error:
        when = time.monotonic()
        with contextlib.suppress(OSError):
            line.send(("ends", (when, (short_memory.noted(error), traceback.format_exc()))))
    finally:
        # What the launching process has to do at its exit is not the rank's to do.
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
            line.close()
        os._exit(code)


def _settle(rank: Rank) -> None:
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(max(1, torch.get_num_threads() // rank.count))
    if not rank.first:
        warnings.simplefilter("ignore")
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.close(nothing)


def _lost(number: int, failure: tuple[str, str]) -> Lost:
    message, trace = failure
    error = Lost(f"rank {number}: {message}")
    error.add_note(trace)
    return error


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
