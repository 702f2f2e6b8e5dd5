import mmap
import multiprocessing
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from steelyard import resident
from steelyard_compute._memory import MIB, HighWater

CPU = torch.device("cpu")


def test_the_mark_rises_with_what_is_used_and_stays() -> None:
    mark = HighWater(nn.Identity(), CPU)
    before = mark.read().mib
    held = torch.ones(64 * MIB // 4)
    del held

    assert 55 < mark.read().mib - before < 90


# A hundred blocks between small ones that stay, so that they can only go back if each has pages of its own.
BLOCKS = """
import ctypes, sys
from steelyard import resident
if sys.argv[1] == "lean":
    resident.give_back(65536)
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
before, taken = resident.held(), []
for _ in range(100):
    taken.append(libc.malloc(100_000))
    ctypes.memset(taken[-1], 1, 100_000)
    libc.malloc(2_000)
full = resident.held() - before
for block in taken:
    libc.free(block)
print(full, resident.held() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this C library has another allocator")
@pytest.mark.parametrize("kind", ["plain", "lean"])
def test_an_allocator_that_is_told_so_gives_back_what_is_free(kind: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", BLOCKS, kind]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    full, left = map(int, done.stdout.split())
    assert full > 9_000_000
    assert left < 2_000_000 if kind == "lean" else left > 9_000_000


def test_a_new_mark_forgets_the_old_one() -> None:
    first = HighWater(nn.Identity(), CPU)
    held = torch.ones(64 * MIB // 4)
    high = first.read().process
    del held

    assert HighWater(nn.Identity(), CPU).read().process < high - 50


def test_the_weights_of_the_model_are_in_it_and_what_was_held_before_is_not() -> None:
    held = torch.ones(64 * MIB // 4)
    mark = HighWater(nn.Linear(1024, 8 * 256, bias=False), CPU)

    found = mark.read()
    assert 8 <= found.mib < 20
    assert found.process > 64
    assert "8.00 MiB of the model" in found.of
    del held


def _in_a_fork(answers: Any) -> None:
    mark = HighWater(nn.Identity(), CPU)
    used = torch.ones(32 * MIB // 4)
    answers.put(mark.read().mib)
    del used


def test_what_a_forked_trial_inherits_is_not_in_it() -> None:
    inherited = torch.ones(128 * MIB // 4)
    fork = multiprocessing.get_context("fork")
    answers = fork.Queue()
    child = fork.Process(target=_in_a_fork, args=(answers,))
    child.start()
    found = answers.get(timeout=60)
    child.join()
    del inherited

    assert 28 < found < 60


def test_where_it_cannot_forget_it_says_so(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(resident, "_CLEAR", tmp_path / "missing" / "clear_refs")
    monkeypatch.setattr(resident, "_STATUS", tmp_path / "missing" / "status")
    monkeypatch.setattr(resident, "_PAGES", str(tmp_path / "missing" / "statm"))
    assert resident.held() == resident.peak()

    peak = HighWater(nn.Identity(), CPU).read()

    assert peak.mib > 50
    assert "since it began" in peak.of


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's own words are Linux's")
def test_what_is_held_is_what_the_kernel_calls_resident() -> None:
    status = Path("/proc/self/status").read_text()
    found = int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024
    assert resident.held() == pytest.approx(found, abs=2 * MIB)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody tells pages of files from others")
def test_pages_of_files_that_are_read_meanwhile_are_not_in_it(tmp_path: Path) -> None:
    path = tmp_path / "library"
    path.write_bytes(bytes(64 * MIB))
    mark = HighWater(nn.Identity(), CPU)
    before, files = mark.read(), resident.files()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pages:
        assert not any(pages[place] for place in range(0, len(pages), 4096))
        assert resident.files() - files > 60 * MIB
        after = mark.read()
    assert after.process - before.process > 55
    assert after.mib - before.mib < 8


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody tells pages of files from others")
def test_pages_of_files_that_are_read_after_the_fullest_moment_are_not_taken_from_it(tmp_path: Path) -> None:
    path = tmp_path / "library"
    path.write_bytes(bytes(60 * MIB))
    mark = HighWater(nn.Identity(), CPU)
    before = mark.read().mib
    held = torch.ones(64 * MIB // 4)
    mark.look()
    del held
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pages:
        assert not any(pages[place] for place in range(0, len(pages), 4096))
        assert 60 < mark.read().mib - before < 90


@pytest.mark.parametrize("quick", [True, False])
def test_growth_is_the_same_however_the_mark_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quick: bool
) -> None:
    """What a program used before another began in its place cannot be forgotten; the kernel is asked otherwise then."""
    if not quick:
        monkeypatch.setattr(resident, "NEAR", -(2**40))
    path = tmp_path / "library"
    path.write_bytes(bytes(32 * MIB))
    growth = resident.Growth()
    assert growth.whole
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pages:
        assert not any(pages[place] for place in range(0, len(pages), 4096))
        held = torch.ones(64 * MIB // 4)
        growth.look()
        del held
        # The kernel counts in steps of some pages and may raise the mark once more when they are given back.
        growth.look()
    assert 60 * MIB < growth.bytes() < 90 * MIB
