"""The memory of this process, as the kernel sees it."""

import contextlib
import ctypes
import os
import resource
import sys
from collections.abc import Mapping
from pathlib import Path

from steelyard.estimating._heap import in_training, rules_of

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _LARGEST_WAITING = -1, -3, 1
"""Numbers of glibc's `mallopt`; the last is M_MXFAST."""
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_PAGES = "/proc/self/statm"
NEAR = 2**20
"""Bytes by which two marks of one moment may differ."""


def settle() -> bool:
    """Gives memory that is free already back to the system and forgets the high-water mark.

    Otherwise what was used and freed before would be used again without the mark ever rising.

    Returns:
        Whether the mark was forgotten; if not, it goes back to the start of the process.
    """
    # Of glibc; other C libraries have nothing like it, and need it less.
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
    try:
        _CLEAR.write_text("5")
    except OSError:
        return False
    return True


def give_back(size: int) -> None:
    """From now on glibc's allocator gives memory back as soon as it is free; other C libraries stay as they are.

    The environment says so from now on, too, as if the process had been started with it.

    Args:
        size: Bytes from which on it does so.
    """
    os.environ.update({"MALLOC_MMAP_THRESHOLD_": str(size), "MALLOC_TRIM_THRESHOLD_": str(size)})
    _set({_MMAP_THRESHOLD: size, _TRIM_THRESHOLD: size})


def keep() -> None:
    """From now on glibc's allocator keeps what is freed for the next step, and joins what is free at once.

    What is given back is asked for anew in the next step, and the kernel takes longer to hand over pages than most
    operations to fill them; so blocks of up to 32 MiB (no more can be set) come from the heap, and it does not shrink.
    Small chunks that are freed do not wait for a request of their size, but become one hole with the free memory beside
    them, so that the next tensor has room there.

    Thresholds in the environment stay; other C libraries stay as they are.
    """
    rules = in_training(rules_of())
    _set({_LARGEST_WAITING: rules.fast, _MMAP_THRESHOLD: rules.mmap, _TRIM_THRESHOLD: rules.trim})


def _set(options: Mapping[int, int]) -> None:
    with contextlib.suppress(AttributeError, OSError):
        library = ctypes.CDLL(None)
        for option, value in options.items():
            library.mallopt(option, value)


def peak() -> int:
    """The high-water mark in bytes."""
    told = _told("VmHWM:")
    if told is not None:
        return told
    return _most()


class Growth:
    """By how much this process grows from now on at most, pages of files not counted.

    The kernel keeps the mark of all pages and says how many are of files only now: they come when code first runs,
    which may be long after the fullest moment. Who looks while the mark rises knows how many there were then.

    Attributes:
        whole: Whether it was the mark of just now that everything is counted from; if not, it may be an older one.
        before: Bytes held at the start.
    """

    def __init__(self) -> None:
        self.whole = settle()
        self.before = held()
        self._files = self._read = files()
        self._seen = 0
        # Asking this way takes no reading of files, but what was before this program began in its process counts.
        self._quick = sys.platform == "linux" and _most() <= self.before + NEAR

    def look(self) -> None:
        """To be called often, such as in each step before and after the fullest moments."""
        mark = _most() if self._quick else peak()
        if mark > self._seen:
            self._seen, self._read = mark, files()

    def bytes(self) -> int:
        """So far."""
        self.look()
        return max(peak() - self.before - max(self._read - self._files, 0), 0)


def files() -> int:
    """Of what the process holds, pages of files, such as the code of libraries, in bytes; 0 where nobody says.

    They come when code first runs, and the kernel takes them back when memory is short.
    """
    return _told("RssFile:") or 0


def held() -> int:
    """What the process holds now, in bytes; the mark where the system does not say."""
    # It is asked for while training runs: the status says the same and takes several times as long.
    try:
        file = os.open(_PAGES, os.O_RDONLY)
    except OSError:
        return peak()
    try:
        return int(os.read(file, 200).split()[1]) * resource.getpagesize()
    finally:
        os.close(file)


def _most() -> int:
    mark = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return mark if sys.platform == "darwin" else mark * 1024


def _told(name: str) -> int | None:
    """A size of the kernel's status of this process, in bytes."""
    with contextlib.suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    return None
