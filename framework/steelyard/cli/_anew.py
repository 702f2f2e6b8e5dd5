"""A process whose allocator joins what is freed.

glibc's malloc keeps seven freed chunks of each small size in a cache of the thread, and joins none of them with the
free memory beside it. Tensors lie between such chunks, so that the place of one that is freed is often too small for
the next by a few bytes, and the heap grows: without the cache most trainings take less memory, and a little longer
(figures in `docs/compute.md`). The cache can be turned off before a process starts, and only then.
"""

import contextlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path

TUNABLES, CACHE = "GLIBC_TUNABLES", "glibc.malloc.tcache_count"


def start_anew() -> None:
    """Starts the command of this process once more in its place, with an allocator without that cache.

    Nothing happens where the C library is another one, where `GLIBC_TUNABLES` says something of the cache already, and
    where this process is not the command `steelyard` or `python -m steelyard` and nothing else.
    """
    if _is_command(Path(sys.argv[0])) and _is_glibc() and os.getuid() == os.geteuid():
        environment = without_cache(os.environ)
        if environment is not None:
            with contextlib.suppress(OSError):
                os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606 (ourselves)


def without_cache(environment: Mapping[str, str]) -> dict[str, str] | None:
    """An environment with one more tunable; None where it says something of the cache itself."""
    told = environment.get(TUNABLES, "")
    if CACHE in told:
        return None
    return {**environment, TUNABLES: ":".join(filter(None, (told, f"{CACHE}=0")))}


def _is_command(script: Path) -> bool:
    return script.is_file() and (script.name == "steelyard" or script.parts[-2:] == ("steelyard", "__main__.py"))


def _is_glibc() -> bool:
    with contextlib.suppress(AttributeError, OSError, ValueError):
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    return False
