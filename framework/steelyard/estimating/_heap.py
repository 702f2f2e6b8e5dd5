"""What the C library's allocator holds while a training asks it for memory and gives it back.

What is freed lies between what is still in use, and a process is as large as its heap with its holes. This file follows
the rules of glibc's malloc for one thread (`malloc.c` of glibc 2.36), so that the same requests in the same order come
to the same size. A request takes the smallest hole that is large enough, else the end of the heap, else, from a
threshold on, pages of its own, which go back to the system when they are freed. The threshold is 128 KiB at first; when
such pages are freed it rises to their size, up to 32 MiB. Small chunks are kept for the next small request and are
never joined with the hole beside them, and what torch asks for is aligned, so that each of its chunks has a small one
before and behind it: where somebody holds those, a hole is too small for the next request of the same size. That is
why a heap grows that is asked for batches of many lengths.
"""

import os
import re
from bisect import bisect_left, insort
from collections.abc import Mapping
from dataclasses import dataclass

PAGE, ALIGNED, LEAST = 4096, 64, 32
"""Bytes: of a page, what torch aligns tensors to, of the smallest chunk."""
PAD = 128 * 1024
"""The heap grows and shrinks by this much more than it must."""
LARGEST = 32 * 2**20
"""The threshold for pages of their own rises no further."""
JOINED = 64 * 1024
"""A freed chunk of this size makes the allocator look at the end of the heap."""
CACHED, KEPT = 1040, 7
"""Chunks up to this size are kept for the next request of the same size, so many of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How an allocator is set.

    Attributes:
        mmap: Bytes from which on a request gets pages of its own.
        trim: Free bytes at the end of the heap that are given back.
        dynamic: Whether both rise with what is freed.
    """

    mmap: int = 128 * 1024
    trim: int = 128 * 1024
    dynamic: bool = True


def rules_of(environment: Mapping[str, str] = os.environ) -> Rules:
    """By the `MALLOC_MMAP_THRESHOLD_` and `MALLOC_TRIM_THRESHOLD_` of an environment, or its `GLIBC_TUNABLES`."""
    found: dict[str, int] = {}
    for name in ("mmap", "trim"):
        tuned = re.findall(rf"glibc\.malloc\.{name}_threshold=(\d+)", environment.get("GLIBC_TUNABLES", ""))
        value = environment.get(f"MALLOC_{name.upper()}_THRESHOLD_") or (tuned[-1] if tuned else "")
        if value.isdigit():
            found[name] = int(value)
    plain = Rules()
    return Rules(mmap=found.get("mmap", plain.mmap), trim=found.get("trim", plain.trim), dynamic=not found)


LEAN: Mapping[str, str] = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
"""An environment in which freed memory of 64 KiB and more goes back at once: a smaller process, and slower steps."""


class Heap:
    """A heap that starts empty.

    Args:
        rules: Of the allocator.

    Attributes:
        peak: The most that was resident at once, in bytes, as if all that was handed out were written to.
    """

    def __init__(self, rules: Rules) -> None:
        self._mmap, self._trim, self._dynamic = rules.mmap, rules.trim, rules.dynamic
        self._top, self._end, self._touched = 0, 0, 0
        self._used: dict[int, int] = {}
        self._pages: dict[int, int] = {}
        self._mapped, self._last = 0, 0
        self._holes: list[tuple[int, int]] = []
        self._starts: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        self._cache: dict[int, list[int]] = {}
        self.peak = 0

    @property
    def resident(self) -> int:
        """Bytes that the process holds now."""
        return self._touched + self._mapped

    def take(self, size: int) -> int:
        """A request of torch for a tensor; gives the handle for `give`."""
        chunk = _chunk(size)
        # A place that is aligned lies somewhere inside of a larger chunk; the rest goes back at once.
        start = self._place(_chunk(chunk + ALIGNED + LEAST))
        if start < 0:
            return start
        # What is written to begins 16 bytes after the chunk.
        lead = -(start + 16) % ALIGNED
        if lead:
            lead += ALIGNED if lead < LEAST else 0
            self._split(start, lead)
            self._free(start)
            start += lead
        if self._used[start] - chunk >= LEAST:
            self._split(start, chunk)
            self._free(start + chunk)
        return start

    def take_small(self, size: int) -> int:
        """Any other request, such as for the object that a tensor is; gives the handle for `give`."""
        chunk = _chunk(size)
        kept = self._cache.get(chunk)
        return kept.pop() if kept else self._place(chunk)

    def give(self, handle: int) -> None:
        """Frees what a request was given."""
        if handle >= 0:
            self._free(handle)
            return
        size = self._pages.pop(handle)
        self._mapped -= size
        if self._dynamic and self._mmap < size <= LARGEST:
            self._mmap, self._trim = size, 2 * size

    def _place(self, size: int) -> int:
        """A chunk of the heap, cut to size, or pages, whose handle is negative."""
        at = bisect_left(self._holes, (size, -1))
        if at < len(self._holes):
            found, start = self._holes[at]
            self._unlist(start)
            if found - size >= LEAST:
                self._list(start + size, found - size)
            else:
                size = found
        elif self._end - self._top < size + LEAST and size >= self._mmap:
            return self._map(size)
        else:
            if self._end - self._top < size + LEAST:
                self._end += _pages(size + PAD + LEAST - (self._end - self._top))
            start, self._top = self._top, self._top + size
            self._touched = max(self._touched, self._top)
            self.peak = max(self.peak, self.resident)
        self._used[start] = size
        return start

    def _map(self, size: int) -> int:
        handle = self._last = self._last - 1
        self._pages[handle] = _pages(size + 8)
        self._mapped += self._pages[handle]
        self.peak = max(self.peak, self.resident)
        return handle

    def _split(self, start: int, size: int) -> None:
        self._used[start + size] = self._used[start] - size
        self._used[start] = size

    def _free(self, start: int) -> None:
        size = self._used[start]
        if size <= CACHED:
            kept = self._cache.get(size)
            if kept is None:
                self._cache[size] = [start]
                return
            if len(kept) < KEPT:
                kept.append(start)
                return
        del self._used[start]
        before, after = self._ends.get(start), start + size
        if before is not None:
            size += self._starts[before]
            self._unlist(before)
            start = before
        if after in self._starts:
            size += self._starts[after]
            self._unlist(after)
        if start + size != self._top:
            self._list(start, size)
            return
        self._top = start
        if size >= JOINED and self._end - self._top >= self._trim:
            self._end -= max(0, self._end - self._top - LEAST - PAD) // PAGE * PAGE
            self._touched = min(self._touched, self._end)

    def _list(self, start: int, size: int) -> None:
        insort(self._holes, (size, start))
        self._starts[start], self._ends[start + size] = size, start

    def _unlist(self, start: int) -> None:
        size = self._starts.pop(start)
        del self._ends[start + size]
        del self._holes[bisect_left(self._holes, (size, start))]


def _chunk(size: int) -> int:
    """Bytes of a chunk for a request: its size and a word before it, in steps of 16."""
    return max(LEAST, (size + 8 + 15) // 16 * 16)


def _pages(size: int) -> int:
    """Whole pages, in bytes."""
    return -(-size // PAGE) * PAGE
