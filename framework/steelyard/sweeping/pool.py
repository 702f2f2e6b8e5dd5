"""Processes for trials: each forked from this one, which has imported the heavy libraries once.

A trial gets a copy of this process as it is and cannot change it: whatever a trial does to its folder, environment,
random streams, default dtype or config ends with it. Nothing outlives the sweep: a trial leads a process group of its
own, which is killed behind it, and the kernel ends a trial whose sweep is gone.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import connection
from typing import Any, TypeVar

from steelyard.sweeping.forked import Send, end_of, held, live, pass_on
from steelyard.sweeping.nest import Begun, Nest, Over

GRACE = 10.0
"""Seconds that a trial has for its last words before it is killed."""
_LOOK = 0.2

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Something that a running trial sent.

    Attributes:
        number: The trial.
        what: What it sent.
    """

    number: int
    what: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A trial that is over.

    Attributes:
        number: The trial.
        code: Its exit code; None where a signal ended it.
        signal: That signal, or None.
        seconds: How long it took.
        cpu_seconds: User and system time, of processes that it waited for, too.
        overdue: True if it ran into its time limit.
        reason: Why there is no code, in the words of those who ran it elsewhere.
    """

    number: int
    code: int | None
    signal: int | None
    seconds: float
    cpu_seconds: float
    overdue: bool
    reason: str = ""


@dataclass(slots=True)
class _Running:
    number: int
    pid: int | None
    slot: int
    line: "connection.Connection[Any, Any]"
    end: int | None
    started: float
    kill_at: float | None = None
    overdue: bool = False
    silent: bool = False
    nest: Nest | None = None


@dataclass(slots=True, kw_only=True)
class Pool:
    """At most `workers` trials at a time.

    Attributes:
        workers: How many.
        threads: For each trial's own computing.
        seconds: The time limit of a trial; None for none.
        devices: CUDA devices to deal out, one to each worker; empty to leave them alone.
    """

    workers: int
    threads: int
    seconds: float | None = None
    devices: Sequence[str] = ()
    _running: list[_Running] = field(default_factory=list[_Running])
    _nests: dict[int, Nest] = field(default_factory=dict[int, Nest])
    _stale: set[int] = field(default_factory=set[int])
    _hatch: Callable[[Any, Send], int] | None = None

    @property
    def free(self) -> bool:
        """True if another trial may start."""
        return len(self._running) < self.workers

    @property
    def busy(self) -> bool:
        """True while a trial runs."""
        return bool(self._running)

    def nest(self, work: Callable[[Any, Send], int]) -> None:
        """From now on orders are carried out by processes that do nothing but fork, each as this one is at its start.

        Args:
            work: What a trial does with its order; its return value is the exit code. Where the system does not end a
                trial with its nest, trials are forked from here all the same.
        """
        self._hatch = work if sys.platform == "linux" else None
        self._stale = set(self._nests)

    def start(self, number: int, work: Callable[[Send], int], *, order: Any = None) -> None:
        """Forks a trial.

        Args:
            number: Of the trial.
            work: What it does, in its own process; its return value is the exit code.
            order: What a nest gets in place of it, if there is one; None if it has to be forked from here.
        """
        assert self.free
        slot = next(slot for slot in range(self.workers) if all(one.slot != slot for one in self._running))
        if order is not None and self._hatch is not None:
            nest = self._nest(slot, self._hatch)
            nest.order(order)
            self._running.append(_Running(number, None, slot, nest.line, nest.end, time.monotonic(), nest=nest))
            return
        sys.stdout.flush()
        sys.stderr.flush()
        line, theirs = connection.Pipe()
        with held():
            parent, pid = os.getpid(), os.fork()
            if not pid:
                line.close()
                live(work, theirs, parent=parent, threads=self.threads, device=self._device(slot))
            # Here and there, so that neither has to wait for the other.
            with contextlib.suppress(OSError):
                os.setpgid(pid, pid)
            theirs.close()
            self._running.append(_Running(number, pid, slot, line, end_of(pid), time.monotonic()))

    def _nest(self, slot: int, work: Callable[[Any, Send], int]) -> Nest:
        nest = self._nests.get(slot)
        if nest is None or slot in self._stale or nest.is_gone():
            if nest is not None:
                nest.close()
            self._stale.discard(slot)
            nest = self._nests[slot] = Nest(work, threads=self.threads, device=self._device(slot))
        return nest

    def _device(self, slot: int) -> str | None:
        return self.devices[slot % len(self.devices)] if self.devices else None

    def poll(self, seconds: float) -> Iterator[Told | Ended]:
        """What the trials send, and their ends; waits up to `seconds` for something to happen."""
        now = time.monotonic()
        due = [self._due(one) - now for one in self._running]
        wait = max(0.0, min([seconds, _LOOK, *due]))
        awaited = [one.end if one.silent else one.line for one in self._running]
        awaited += [one.end for one in self._running if one.nest and one.end is not None]
        known = [one for one in awaited if one is not None]
        if len(known) < len(awaited):
            time.sleep(min(wait, 0.002))
        else:
            connection.wait(known, wait)
        for one in list(self._running):
            self._hurry(one)
            # First the process, then its words: so none is lost between them.
            if one.nest is not None:
                yield from self._heard(one, one.nest, gone=one.nest.is_gone())
                continue
            assert one.pid is not None
            pid, status, usage = os.wait4(one.pid, os.WNOHANG)
            yield from self._words(one)
            if pid:
                self._forget(one)
                yield _ended(one, status, usage.ru_utime + usage.ru_stime)

    def answer(self, number: int, what: Any) -> None:
        """Answers a trial that asked; one that is gone meanwhile hears nothing."""
        with contextlib.suppress(OSError):
            next(one for one in self._running if one.number == number).line.send(what)

    def stop(self, number: signal.Signals) -> None:
        """Passes a signal on to all trials; those that are still there after `GRACE` seconds are killed by `poll`."""
        for one in self._running:
            self._tell(one, number)
            one.kill_at = time.monotonic() + GRACE

    def kill(self) -> None:
        """Ends all trials at once, and waits until they are gone."""
        for one in list(self._running):
            self._tell(one, signal.SIGKILL)
            if one.nest is not None:
                self._see_off(one)
                continue
            assert one.pid is not None
            with contextlib.suppress(ChildProcessError):
                os.waitpid(one.pid, 0)
            self._forget(one)
        for nest in self._nests.values():
            nest.close()
        self._nests.clear()

    def _due(self, one: _Running) -> float:
        if one.kill_at is not None:
            return one.kill_at
        return one.started + (self.seconds if self.seconds is not None else float("inf"))

    def _hurry(self, one: _Running) -> None:
        if time.monotonic() < self._due(one):
            return
        if one.kill_at is not None:
            self._tell(one, signal.SIGKILL)
            one.kill_at = float("inf")
            return
        one.overdue = True
        one.kill_at = time.monotonic() + GRACE
        self._tell(one, signal.SIGTERM)

    def _words(self, one: _Running) -> Iterator[Told]:
        try:
            while not one.silent and one.line.poll():
                yield Told(number=one.number, what=one.line.recv())
        except (EOFError, OSError):
            one.silent = True

    def _heard(self, one: _Running, nest: Nest, *, gone: bool) -> Iterator[Told | Ended]:
        """What comes along the line of a nest."""
        try:
            while one.line.poll():
                what = one.line.recv()
                if isinstance(what, Begun):
                    one.pid = what.pid
                    if one.kill_at is not None:
                        self._tell(one, signal.SIGTERM)
                elif isinstance(what, Over):
                    self._running.remove(one)
                    yield _ended(one, what.status, what.cpu_seconds)
                    return
                else:
                    yield Told(number=one.number, what=what)
        except (EOFError, OSError):
            gone = True
        if gone:
            # Linux has ended the trial with it.
            self._running.remove(one)
            del self._nests[one.slot]
            yield _ended(one, nest.close(), 0.0)

    def _see_off(self, one: _Running) -> None:
        """Waits until the trial of a nest, which is to be killed, is gone."""
        self._running.remove(one)
        with contextlib.suppress(EOFError, OSError):
            while not isinstance(what := one.line.recv(), Over):
                if isinstance(what, Begun):
                    pass_on(what.pid, signal.SIGKILL)

    def _tell(self, one: _Running, number: int) -> None:
        if one.pid is not None:
            pass_on(one.pid, number)

    def _forget(self, one: _Running) -> None:
        # What it started and left behind goes with it.
        self._tell(one, signal.SIGKILL)
        one.line.close()
        if one.end is not None:
            os.close(one.end)
        self._running.remove(one)


def _ended(one: _Running, status: int, cpu_seconds: float) -> Ended:
    return Ended(
        number=one.number,
        code=os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
        signal=os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
        seconds=time.monotonic() - one.started,
        cpu_seconds=cpu_seconds,
        overdue=one.overdue,
    )


def side_by_side(works: Mapping[int, Callable[[], T]], *, workers: int, threads: int) -> dict[int, T]:
    """What each work gives back, made in a process of its own.

    Raises:
        RuntimeError: If one fails; its own traceback is on stderr.
    """
    pool = Pool(workers=workers, threads=threads)
    found: dict[int, T] = {}
    left = list(works.items())[::-1]

    def start(number: int, work: Callable[[], T]) -> None:
        pool.start(number, lambda send: send(work()) or 0)

    try:
        while left or pool.busy:
            while left and pool.free:
                start(*left.pop())
            for event in pool.poll(1.0):
                if isinstance(event, Told):
                    found[event.number] = event.what
                elif event.number not in found:
                    raise RuntimeError(f"number {event.number} failed: exit code {event.code}, signal {event.signal}")
    finally:
        pool.kill()
    return found


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share(workers: int | None, trials: int) -> tuple[int, int]:
    """How many trials run side by side, and the threads of each: together as many as there are cores.

    Args:
        workers: What the user wants, or None for one per core.
        trials: How many there are to run.
    """
    told = os.environ.get("OMP_NUM_THREADS", "")
    beside = max(1, min(workers or cores(), trials))
    threads = max(1, cores() // beside)
    return beside, min(threads, int(told)) if told.isdigit() and int(told) else threads
