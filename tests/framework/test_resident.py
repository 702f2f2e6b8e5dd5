"""What glibc's allocator keeps for the next step, seen by the pages that the kernel has to hand over again."""

import os
import platform
import subprocess
import sys

import pytest

STEPS = """
import ctypes, resource, sys
from steelyard import resident

library = ctypes.CDLL(None)
library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
library.free.argtypes = [ctypes.c_void_p]
size = 4 * 2**20
resident.keep(int(sys.argv[1]))
for step in range(6):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [library.malloc(size) for _ in range(6)]
    for block in blocks:
        ctypes.memset(block, 1, size)
    for block in blocks:
        library.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES = 6 * 4 * 2**20 // 4096

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="an allocator that is asked nothing")


def faults(size: int, **settings: str) -> int:
    """In the last of some steps that take 24 MiB in blocks of 4."""
    words = [sys.executable, "-c", STEPS, str(size)]
    run = subprocess.run(words, capture_output=True, check=True, text=True, env={**os.environ, **settings})
    return int(run.stdout)


@glibc
def test_what_is_free_is_kept_up_to_twice_the_size() -> None:
    assert faults(0) > PAGES / 2
    assert faults(2**24) < PAGES / 50


@glibc
def test_settings_in_the_environment_stay() -> None:
    assert faults(2**24, MALLOC_TRIM_THRESHOLD_="65536", MALLOC_MMAP_THRESHOLD_="65536") > PAGES / 2
