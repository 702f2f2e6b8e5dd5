"""Ends of a training before its time, as exceptions."""

import contextlib
import signal
import threading
from collections.abc import Generator


class Terminated(BaseException):
    """SIGTERM arrived: exit code 143. Like KeyboardInterrupt, no `except Exception` swallows it."""


class Pruned(Exception):
    """A sweep gives this trial up, since others were better at the same step: exit code 0, but no scorecard."""


@contextlib.contextmanager
def terminable() -> Generator[threading.Event]:
    """Turns SIGTERM into `Terminated`, and sets the event: raised into compiled code it comes out as another error.

    Only the main thread may, so that a notebook's worker keeps its own handler.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def terminate(*_: object) -> None:
        stop.set()
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)
