"""When Python looks for garbage in cycles; imports nothing heavy."""

import atexit
import fcntl
import gc
import io
import os
import stat
from collections.abc import Generator
from contextlib import contextmanager, suppress

_BUFFERED = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)
_STANDARD = 3


@contextmanager
def left_lying() -> Generator[None]:
    """Nobody looks for it inside: an import of torch and its friends leaves next to none.

    Each look goes through all objects that there are, hundreds of thousands of them, and while they are made it comes
    again and again.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def none_at_the_end() -> None:
    """When this process ends, nobody looks through all of its libraries once more; with torch that takes a second.

    What the end would have saved is saved: files that only garbage holds are written out. Python promises no other last
    word to what is still there.
    """
    atexit.unregister(_leave_lying)
    atexit.register(_leave_lying)


def _leave_lying() -> None:
    if _writes():
        for one in gc.get_objects():
            if isinstance(one, _BUFFERED):
                with suppress(OSError, ValueError):  # closed, or not open for writing
                    one.flush()
    gc.freeze()


def _writes() -> bool:
    """True if a file other than the standard three is open for writing, or if nobody can say."""
    try:
        numbers = [int(name) for name in os.listdir("/dev/fd")]  # noqa: PTH208 - numbers, not paths
    except OSError:
        return True
    return any(map(_is_written, numbers))


def _is_written(number: int) -> bool:
    try:
        how, what = fcntl.fcntl(number, fcntl.F_GETFL), os.fstat(number)
    except OSError:
        return False  # the one that listed them
    return number >= _STANDARD and how & os.O_ACCMODE != os.O_RDONLY and stat.S_ISREG(what.st_mode)
