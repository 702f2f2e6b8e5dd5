"""The memory of this process, as the kernel sees it."""

import contextlib
import ctypes
import os
import resource
import sys
from pathlib import Path

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Numbers of glibc's `mallopt`."""
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_PAGES = "/proc/self/statm"


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


def keep(size: int) -> None:
    """From now on glibc's allocator keeps at least twice so many bytes that are free, where it chooses by itself.

    What it gives back is asked for anew in the next step, and the kernel takes longer to hand over pages than most
    operations to fill them. It learns what is usual from the largest block that was freed (mallopt(3)), so one of this
    size is asked for and let go, without being touched. Settings in the environment stay; other C libraries, too.

    Args:
        size: Bytes; glibc heeds no more than 32 MiB.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        library = ctypes.CDLL(None)
        library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
        library.free.restype, library.free.argtypes = None, [ctypes.c_void_p]
        library.free(library.malloc(size))


def peak() -> int:
    """The high-water mark in bytes."""
    told = _told("VmHWM:")
    if told is not None:
        return told
    mark = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return mark if sys.platform == "darwin" else mark * 1024


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


def _told(name: str) -> int | None:
    """A size of the kernel's status of this process, in bytes."""
    with contextlib.suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    return None
