"""What glibc's allocator keeps for the next step, seen by the pages that the kernel has to hand over again."""

import os
import platform
import subprocess
import sys

import pytest

from helpers.glibc import GLIBC

STEPS = f"""
{GLIBC}
import resource, sys
from steelyard import resident
size = 4 * 2**20
if sys.argv[1] == "kept":
    resident.keep()
for step in range(6):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [libc.malloc(size) for _ in range(6)]
    for block in blocks:
        ctypes.memset(block, 1, size)
    for block in blocks:
        libc.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES = 6 * 4 * 2**20 // 4096

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="an allocator that is asked nothing")


def faults(way: str, **settings: str) -> int:
    """In the last of some steps that take 24 MiB in blocks of 4."""
    return int(told(STEPS, way, **settings))


def told(script: str, way: str, **settings: str) -> str:
    words = [sys.executable, "-c", script, way]
    return subprocess.run(words, capture_output=True, check=True, text=True, env={**os.environ, **settings}).stdout


@glibc
def test_what_is_free_is_kept_for_the_next_step() -> None:
    assert faults("plain") > PAGES / 2
    assert faults("kept") < PAGES / 50


@glibc
def test_thresholds_in_the_environment_stay() -> None:
    assert faults("kept", MALLOC_TRIM_THRESHOLD_="65536", MALLOC_MMAP_THRESHOLD_="65536") > PAGES / 2


WAITING = f"""
{GLIBC}
import sys
from steelyard import resident
if sys.argv[1] == "kept":
    resident.keep()
# The list lives on: if it lies beside the rest of the heap, its end makes one hole of everything that waits.
blocks = [libc.malloc(40) for _ in range(100)]
before = libc.mallinfo2().fsmblks
for block in blocks:
    libc.free(block)
print(libc.mallinfo2().fsmblks - before)
"""


@glibc
def test_small_chunks_that_are_freed_do_not_wait_but_become_one_hole() -> None:
    off = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}
    assert int(told(WAITING, "plain", **off)) > 50 * 48
    assert int(told(WAITING, "kept", **off)) <= 0
