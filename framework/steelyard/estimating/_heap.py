"""What the C library's allocator holds while a training asks it for memory and gives it back.

What is freed lies between what is still in use, and a process is as large as its heap with its holes. This file follows
the rules of glibc's malloc for one thread (`malloc.c` of glibc 2.36), so that the same requests in the same order come
to the same size. A request takes the smallest hole that is large enough, else the end of the heap, else, from a
threshold on, pages of its own, which go back to the system when they are freed. The threshold is 128 KiB at first; when
such pages are freed it rises to their size, up to 32 MiB.

What torch asks for is aligned, so that each of its chunks has a small one before and behind it, and is too small itself
for the next request of the same size without these. By its own rules small chunks that are freed are not joined with
the hole beside them at once: seven of each size wait in the thread's cache for the next small request, for good if need
be, those of up to 128 bytes beyond that until the next large request. A command turns off the one (`cli/_anew.py`), a
training the other (`resident.keep`). What a heap grows to still hangs on objects of a few bytes.
"""

import os
import re
from bisect import bisect_left, insort
from collections.abc import Mapping
from dataclasses import dataclass, replace

PAGE, ALIGNED, LEAST = 4096, 64, 32
"""Bytes: of a page, what torch aligns tensors to, of the smallest chunk."""
PAD = 128 * 1024
"""The heap grows and shrinks by this much more than it must."""
LARGEST, NEVER = 32 * 2**20, 2**31 - 1
"""The threshold for pages of their own rises no further; the most that can be set for the other."""
JOINED = 64 * 1024
"""A freed chunk of this size makes the allocator look at the end of the heap."""
CACHED, SMALL = 1040, 1024
"""Bytes: chunks up to the first size wait in the thread's cache; from the other on a request is a large one."""

_BINS = ((48, 6, 48), (91, 9, 20), (110, 12, 10), (119, 15, 4), (124, 18, 2))
"""Of large holes: the number of the first list less that of its sizes, in what steps these go, and the last of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How an allocator is set.

    Attributes:
        mmap: Bytes from which on a request gets pages of its own.
        trim: Free bytes at the end of the heap that are given back.
        dynamic: Whether both rise with what is freed.
        kept: Chunks of each size that wait in the cache of a thread.
        fast: Bytes of the largest chunk that waits outside of it, until the next large request.
    """

    mmap: int = 128 * 1024
    trim: int = 128 * 1024
    dynamic: bool = True
    kept: int = 7
    fast: int = 128


def rules_of(environment: Mapping[str, str] = os.environ) -> Rules:
    """By the `MALLOC_MMAP_THRESHOLD_` and `MALLOC_TRIM_THRESHOLD_` of an environment, or its `GLIBC_TUNABLES`."""
    found: dict[str, int] = {}
    for name in ("mmap_threshold", "trim_threshold", "tcache_count", "mxfast"):
        tuned = re.findall(rf"glibc\.malloc\.{name}=(\d+)", environment.get("GLIBC_TUNABLES", ""))
        value = environment.get(f"MALLOC_{name.upper()}_") or (tuned[-1] if tuned else "")
        if value.isdigit():
            found[name] = int(value)
    plain = Rules()
    kept, fast = found.pop("tcache_count", plain.kept), (found.pop("mxfast", plain.fast) + 8) // 16 * 16
    mmap, trim = found.get("mmap_threshold", plain.mmap), found.get("trim_threshold", plain.trim)
    return Rules(mmap=mmap, trim=trim, dynamic=not found, kept=kept, fast=fast)


def in_training(rules: Rules) -> Rules:
    """What becomes of an environment's rules when a training begins (`resident.keep`)."""
    if not rules.dynamic:
        return replace(rules, fast=0)
    return replace(rules, mmap=LARGEST, trim=NEVER, dynamic=False, fast=0)


LEAN: Mapping[str, str] = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
"""An environment in which freed memory of 64 KiB and more goes back at once: a smaller process, and slower steps."""


class Heap:
    """A heap that starts empty.

    Args:
        rules: Of the allocator.

    Attributes:
        peak: The most that was resident at once, in bytes, as if all of the heap were written to.
    """

    def __init__(self, rules: Rules) -> None:
        self._mmap, self._trim, self._dynamic = rules.mmap, rules.trim, rules.dynamic
        self._kept, self._fastest = rules.kept, rules.fast
        self._top, self._end, self._touched = 0, 0, 0
        self._used: dict[int, int] = {}
        self._pages: dict[int, int] = {}
        self._filled: dict[int, int] = {}
        self._mapped, self._last = 0, 0
        self._starts: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        # Holes that no request has looked at yet, in order; sizes of the others, rising; where those of each start.
        self._fresh: dict[int, None] = {}
        self._sizes: list[int] = []
        self._sorted: dict[int, list[int]] = {}
        self._cache: dict[int, list[int]] = {}
        self._fast: dict[int, list[int]] = {}
        self._remainder = -1
        self.peak = 0

    @property
    def resident(self) -> int:
        """Bytes that the process holds now."""
        return self._touched + self._mapped

    def take(self, size: int, written: int | None = None) -> int:
        """A request of torch for a tensor; gives the handle for `give`.

        Args:
            size: Bytes.
            written: Those that are written to, if not all: the kernel gives pages of their own no others.
        """
        chunk = _chunk(size)
        # A place that is aligned lies somewhere inside of a larger chunk; the rest goes back at once.
        start = self._place(_chunk(chunk + ALIGNED + LEAST), written)
        if start < 0:
            return start
        # What is written to begins 16 bytes after the chunk.
        lead = -(start + 16) % ALIGNED
        if lead:
            lead += ALIGNED if lead < LEAST else 0
            self._split(start, lead)
            self._free(start)
            start += lead
        if self._used[start] - chunk > LEAST:
            self._split(start, chunk)
            self._free(start + chunk)
        return start

    def take_small(self, size: int) -> int:
        """Any other request, such as for the object that a tensor is; gives the handle for `give`."""
        chunk = _chunk(size)
        waiting = self._cache.get(chunk)
        return waiting.pop() if waiting else self._place(chunk)

    def map(self, size: int) -> int:
        """Pages that never are the allocator's, such as of code; gives the handle for `give`."""
        return self._map(size, size)

    def level(self) -> None:
        """Moves the end of what is used to where a tensor leaves it.

        The places of tensors of one size hang on where the first of them begins, and one's is large enough for the
        next if it lies 32 bytes behind such an end.
        """
        gap = -self._top % ALIGNED
        self._top, self._end = self._top + gap, self._end + gap
        self._touched = max(self._touched, self._top)

    def give(self, handle: int) -> None:
        """Frees what a request was given."""
        if handle >= 0:
            self._free(handle)
            return
        size = self._pages.pop(handle)
        self._mapped -= self._filled.pop(handle)
        if self._dynamic and self._mmap < size <= LARGEST:
            self._mmap, self._trim = size, 2 * size

    def _place(self, size: int, written: int | None = None) -> int:
        """A chunk of the heap, cut to size, or pages, whose handle is negative."""
        start = self._waiting(size) if size < SMALL else None
        if start is None:
            if size >= SMALL:
                self._join_all()
            start = self._just_freed(size)
        if start is not None:
            return start
        if self._short(size) and self._larger(size) is None:
            # Before the heap grows, small chunks are joined and looked at.
            self._join_all()
            self._sort()
        if (found := self._larger(size)) is not None:
            return self._cut(found, size)
        if self._short(size):
            if size >= self._mmap:
                return self._map(size, size if written is None else written)
            self._end += _pages(size + PAD + LEAST - (self._end - self._top))
        start, self._top = self._top, self._top + size
        self._touched = max(self._touched, self._top)
        self.peak = max(self.peak, self.resident)
        self._used[start] = size
        return start

    def _waiting(self, size: int) -> int | None:
        """A small chunk of exactly this size that waits; others of it move into the cache."""
        fast = self._fast.get(size, [])
        if fast:
            start = fast.pop()
            while fast and self._room(size):
                self._cache.setdefault(size, []).append(fast.pop())
            if not fast:
                del self._fast[size]
            return start
        found = self._exactly(size)
        if found is None:
            return None
        self._use(found)
        while self._room(size) and (other := self._exactly(size)) is not None:
            self._use(other)
            self._cache.setdefault(size, []).append(other)
        return found

    def _just_freed(self, size: int) -> int | None:
        """Looks at the holes that are new, until one has exactly this size; the others are sorted."""
        cached = False
        while self._fresh:
            start = next(iter(self._fresh))
            found = self._starts[start]
            if size < SMALL and len(self._fresh) == 1 and start == self._remainder and found > size + LEAST:
                # Small requests in a row lie in a row.
                return self._cut(start, size)
            if found != size:
                del self._fresh[start]
                self._sort_in(start, found)
                continue
            self._use(start)
            if size > CACHED or not self._room(size):
                return start
            self._cache.setdefault(size, []).append(start)
            cached = True
        return self._cache[size].pop() if cached else None

    def _cut(self, start: int, size: int) -> int:
        """Uses a hole, and what it is larger by becomes one of its own."""
        found = self._starts[start]
        self._use(start)
        if found - size >= LEAST:
            self._used[start] = size
            self._list(start + size, found - size)
            if size < SMALL:
                self._remainder = start + size
        return start

    def _map(self, size: int, written: int) -> int:
        handle = self._last = self._last - 1
        self._pages[handle], self._filled[handle] = _pages(size + 8), _pages(written + 8)
        self._mapped += self._filled[handle]
        self.peak = max(self.peak, self.resident)
        return handle

    def _split(self, start: int, size: int) -> None:
        self._used[start + size] = self._used[start] - size
        self._used[start] = size

    def _free(self, start: int) -> None:
        size = self._used[start]
        if size <= CACHED and self._room(size):
            self._cache.setdefault(size, []).append(start)
        elif size <= self._fastest:
            self._fast.setdefault(size, []).append(start)
        elif self._join(start) >= JOINED:
            self._join_all()
            if self._end - self._top >= self._trim:
                self._end -= max(0, self._end - self._top - LEAST - PAD) // PAGE * PAGE
                self._touched = min(self._touched, self._end)

    def _join(self, start: int) -> int:
        """Makes a hole of a chunk and those beside it; gives its size."""
        size = self._used.pop(start)
        before, after = self._ends.get(start), start + size
        if before is not None:
            size += self._starts[before]
            self._unlist(before)
            start = before
        if after == self._top:
            self._top = start
            return self._end - start
        if after in self._starts:
            size += self._starts[after]
            self._unlist(after)
        self._list(start, size)
        return size

    def _join_all(self) -> None:
        """The small chunks that waited outside of the cache."""
        fast, self._fast = self._fast, {}
        for size in sorted(fast):
            for start in reversed(fast[size]):
                self._join(start)

    def _room(self, size: int) -> bool:
        return len(self._cache.get(size, ())) < self._kept

    def _short(self, size: int) -> bool:
        return self._end - self._top < size + LEAST

    def _exactly(self, size: int) -> int | None:
        """A small hole of this size: of several the oldest."""
        return self._sorted[size][0] if size in self._sorted else None

    def _larger(self, size: int) -> int | None:
        """Where the smallest hole starts that is large enough, of those that are sorted.

        Large ones of one size lie behind the first of them, the newest before the others. A request that belongs to
        their bin takes the newest, one that has found nothing in its own the last.
        """
        at = bisect_left(self._sizes, size)
        if at == len(self._sizes):
            return None
        found = self._sizes[at]
        alike = self._sorted[found]
        if found < SMALL:
            return alike[0]
        return alike[min(1, len(alike) - 1) if _bin(found) == _bin(size) else -1]

    def _sort(self) -> None:
        for start in list(self._fresh):
            del self._fresh[start]
            self._sort_in(start, self._starts[start])

    def _sort_in(self, start: int, size: int) -> None:
        alike = self._sorted.setdefault(size, [])
        if not alike:
            insort(self._sizes, size)
        alike.insert(1 if size >= SMALL else len(alike), start)

    def _list(self, start: int, size: int) -> None:
        self._starts[start], self._ends[start + size] = size, start
        self._fresh[start] = None

    def _use(self, start: int) -> None:
        self._used[start] = self._starts[start]
        self._unlist(start)

    def _unlist(self, start: int) -> None:
        size = self._starts.pop(start)
        del self._ends[start + size]
        if start in self._fresh:
            del self._fresh[start]
            return
        alike = self._sorted[size]
        alike.remove(start)
        if not alike:
            del self._sorted[size]
            del self._sizes[bisect_left(self._sizes, size)]


def _chunk(size: int) -> int:
    """Bytes of a chunk for a request: its size and a word before it, in steps of 16."""
    return max(LEAST, (size + 8 + 15) // 16 * 16)


def _bin(size: int) -> int:
    """The list in which large holes of a size are kept; the larger they are, the more sizes share one."""
    for least, shift, most in _BINS:
        if size >> shift <= most:
            return least + (size >> shift)
    return 126


def _pages(size: int) -> int:
    """Whole pages, in bytes."""
    return -(-size // PAGE) * PAGE
