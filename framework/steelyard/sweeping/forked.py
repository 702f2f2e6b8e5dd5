"""A process of a trial, from its first to its last step: forked from one that has imported the heavy libraries."""

import contextlib
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Generator
from multiprocessing import connection
from typing import Any

from steelyard.sweeping import _callbacks

_GONE = 143


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


def live(work: Callable[[Send], int], line: Any, *, parent: int, threads: int, device: str | None = None) -> None:
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


def end_of(pid: int) -> int | None:
    """Something that can be waited for until the process has ended; None where the system has nothing of the kind."""
    try:
        return os.pidfd_open(pid) if sys.platform == "linux" else None
    except OSError:
        return None


def pass_on(pid: int, number: int) -> None:
    """Sends a signal to a process group; one that is gone hears nothing."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


@contextlib.contextmanager
def held() -> Generator[None]:
    """No signal comes between a fork and its entry in the list."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
