"""The memory of this process, as the kernel sees it."""

import contextlib
import ctypes
import resource
import sys
from pathlib import Path

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Numbers of glibc's `mallopt`."""
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


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

    Args:
        size: Bytes from which on it does so.
    """
    with contextlib.suppress(AttributeError, OSError):
        library = ctypes.CDLL(None)
        for option in (_MMAP_THRESHOLD, _TRIM_THRESHOLD):
            library.mallopt(option, size)


def peak() -> int:
    """The high-water mark in bytes."""
    found = _field("VmHWM:")
    if found is not None:
        return found
    mark = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return mark if sys.platform == "darwin" else mark * 1024


def held() -> int:
    """What the process holds now, in bytes; the mark where the system does not say."""
    found = _field("VmRSS:")
    return peak() if found is None else found


def _field(name: str) -> int | None:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), None)
