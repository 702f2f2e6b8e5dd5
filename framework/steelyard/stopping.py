"""Ends of a training before its time, as exceptions."""

import contextlib
import signal
import threading
from collections.abc import Generator
from dataclasses import dataclass
from typing import final


class Terminated(BaseException):
    """SIGTERM arrived: exit code 143. Like KeyboardInterrupt, no `except Exception` swallows it."""


class Pruned(Exception):
    """A sweep gives this trial up, since others were better at the same step: exit code 0, but no scorecard."""


@final
@dataclass(slots=True)
class Stop:
    """What a signal asked for.

    Attributes:
        asked: The exception that was raised for it; None if there was no signal.
    """

    asked: KeyboardInterrupt | Terminated | None = None


@contextlib.contextmanager
def terminable() -> Generator[Stop]:
    """Turns SIGTERM into `Terminated`, and keeps it and Ctrl-C, which come out of compiled code as other errors.

    Only the main thread may, so that a notebook's worker keeps its own handler; so does whoever handles Ctrl-C already.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def terminate(*_: object) -> None:
        stop.asked = Terminated()
        raise stop.asked

    def interrupt(*_: object) -> None:
        stop.asked = KeyboardInterrupt()
        raise stop.asked

    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, terminate)}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        before[signal.SIGINT] = signal.signal(signal.SIGINT, interrupt)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
