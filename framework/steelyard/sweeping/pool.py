"""Processes for trials: each forked from this one, which has imported the heavy libraries once.

A trial gets a copy of this process as it is and cannot change it: whatever a trial does to its folder, environment,
random streams, default dtype or config ends with it. Nothing outlives the sweep: a trial leads a process group of its
own, which is killed behind it, and the kernel ends a trial whose sweep is gone.
"""

import contextlib
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import connection
from typing import Any, TypeVar

from steelyard.sweeping import _callbacks

GRACE = 10.0
"""Seconds that a trial has for its last words before it is killed."""
_LOOK = 0.2
_GONE = 143

T = TypeVar("T")


class Send:
    """How a trial tells its sweep something; anything that pickles.

    Args:
        line: To the sweep and back.
    """

    def __init__(self, line: "connection.Connection[Any, Any]") -> None:
        self._line = line

    def __call__(self, what: Any) -> None:
        """Tells, and goes on at once."""
        self._line.send(what)

    def ask(self, what: Any) -> Any:
        """Tells, and waits for the answer."""
        self._line.send(what)
        return self._line.recv()


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
    pid: int
    slot: int
    line: "connection.Connection[Any, Any]"
    end: int | None
    started: float
    kill_at: float | None = None
    overdue: bool = False
    silent: bool = False


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

    @property
    def free(self) -> bool:
        """True if another trial may start."""
        return len(self._running) < self.workers

    @property
    def busy(self) -> bool:
        """True while a trial runs."""
        return bool(self._running)

    def start(self, number: int, work: Callable[[Send], int]) -> None:
        """Forks a trial.

        Args:
            number: Of the trial.
            work: What it does, in its own process; its return value is the exit code.
        """
        assert self.free
        slot = next(slot for slot in range(self.workers) if all(one.slot != slot for one in self._running))
        sys.stdout.flush()
        sys.stderr.flush()
        line, theirs = connection.Pipe()
        with _held():
            parent, pid = os.getpid(), os.fork()
            if not pid:
                line.close()
                device = self.devices[slot % len(self.devices)] if self.devices else None
                _trial(work, theirs, parent=parent, threads=self.threads, device=device)
            # Here and there, so that neither has to wait for the other.
            with contextlib.suppress(OSError):
                os.setpgid(pid, pid)
            theirs.close()
            self._running.append(_Running(number, pid, slot, line, _end_of(pid), time.monotonic()))

    def poll(self, seconds: float) -> Iterator[Told | Ended]:
        """What the trials send, and their ends; waits up to `seconds` for something to happen."""
        now = time.monotonic()
        due = [self._due(one) - now for one in self._running]
        wait = max(0.0, min([seconds, _LOOK, *due]))
        awaited = [one.end if one.silent else one.line for one in self._running]
        known = [one for one in awaited if one is not None]
        if len(known) < len(awaited):
            time.sleep(min(wait, 0.002))
        else:
            connection.wait(known, wait)
        for one in list(self._running):
            self._hurry(one)
            # First the process, then its words: so none is lost between them.
            pid, status, usage = os.wait4(one.pid, os.WNOHANG)
            yield from self._words(one)
            if pid:
                self._forget(one)
                yield Ended(
                    number=one.number,
                    code=os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
                    signal=os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
                    seconds=time.monotonic() - one.started,
                    cpu_seconds=usage.ru_utime + usage.ru_stime,
                    overdue=one.overdue,
                )

    def answer(self, number: int, what: Any) -> None:
        """Answers a trial that asked; one that is gone meanwhile hears nothing."""
        with contextlib.suppress(OSError):
            next(one for one in self._running if one.number == number).line.send(what)

    def stop(self, number: signal.Signals) -> None:
        """Passes a signal on to all trials; those that are still there after `GRACE` seconds are killed by `poll`."""
        for one in self._running:
            _signal(one.pid, number)
            one.kill_at = time.monotonic() + GRACE

    def kill(self) -> None:
        """Ends all trials at once, and waits until they are gone."""
        for one in list(self._running):
            _signal(one.pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(one.pid, 0)
            self._forget(one)

    def _due(self, one: _Running) -> float:
        if one.kill_at is not None:
            return one.kill_at
        return one.started + (self.seconds if self.seconds is not None else float("inf"))

    def _hurry(self, one: _Running) -> None:
        if time.monotonic() < self._due(one):
            return
        if one.kill_at is not None:
            _signal(one.pid, signal.SIGKILL)
            one.kill_at = float("inf")
            return
        one.overdue = True
        one.kill_at = time.monotonic() + GRACE
        _signal(one.pid, signal.SIGTERM)

    def _words(self, one: _Running) -> Iterator[Told]:
        try:
            while not one.silent and one.line.poll():
                yield Told(number=one.number, what=one.line.recv())
        except (EOFError, OSError):
            one.silent = True

    def _forget(self, one: _Running) -> None:
        # What it started and left behind goes with it.
        _signal(one.pid, signal.SIGKILL)
        one.line.close()
        if one.end is not None:
            os.close(one.end)
        self._running.remove(one)


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


def _trial(work: Callable[[Send], int], line: Any, *, parent: int, threads: int, device: str | None = None) -> None:
    """The forked process, from its first to its last step; never returns."""
    code = 3
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, _leave)
        with contextlib.suppress(OSError):
            os.setpgid(0, 0)
        die_with(parent)
        if device is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = device
        _settle(threads)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))
        code = work(Send(line))
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 3
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        traceback.print_exc()
    finally:
        # Not by way of `sys.exit`: what the sweep's own process left to do at its exit is not the trial's to do.
        with contextlib.suppress(BaseException):
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
            line.close()
        os._exit(code)


def _leave(number: int, frame: object) -> None:
    del number, frame
    sys.exit(_GONE)


def _settle(threads: int) -> None:
    """What a fork leaves to do.

    Its share of the threads, random streams of its own until somebody seeds them, and what the sweep knows already.
    """
    os.environ["OMP_NUM_THREADS"] = str(threads)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    torch: Any = sys.modules.get("torch")
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None:
        # Numpy's own way to a seed takes several times longer in a fresh fork, and so does torch's to other devices.
        numpy.random.seed(int.from_bytes(os.urandom(4), "little"))
    if torch is not None:
        torch.set_num_threads(threads)
        # What torch was built for; this wakes no driver.
        alone = torch.accelerator.current_accelerator() is None
        (torch.default_generator if alone else torch).seed()
    _callbacks.use()


def die_with(parent: int) -> None:
    """Asks Linux to kill this process when the one that forked it is gone; elsewhere it ends by itself."""
    if sys.platform == "linux":
        import ctypes

        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(_GONE)


def _end_of(pid: int) -> int | None:
    """Something that can be waited for until the process has ended; None where the system has nothing of the kind."""
    try:
        return os.pidfd_open(pid) if sys.platform == "linux" else None
    except OSError:
        return None


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


@contextlib.contextmanager
def _held() -> Generator[None]:
    """No signal comes between a fork and its entry in the list."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
