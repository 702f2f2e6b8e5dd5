"""How far a process grows in a training: the requests of its rehearsal, replayed to an allocator.

A tensor comes with small objects (`_company.py`), and it matters for the holes of a heap where they lie.
"""

import random
from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from steelyard.estimating._company import BEFORE, COMPANIES, HOLES, STAYS, Company, Moment
from steelyard.estimating._heap import CACHED, Heap, Rules
from steelyard.estimating._onednn import Written
from steelyard.estimating._shapes import Shape

SMALL = 1024
"""Bytes below which a tensor is a scalar or a list of sizes, and has no company of its own here."""
PROGRAM, CONVOLUTION, GELU = 224 * 1024, 62 * 1024, 16 * 1024
"""Bytes that a program of oneDNN and the lists beside it add to the process, by what it is for. One of a product takes
196 KiB in an MLP, 226 in a BERT in many shapes; one of a convolution 62 to 64 in a CNN and a narrow ResNet, and 31 in a
wider one; one of GELU 10 to 16. It has 256 KiB of its own, most of which are never written to."""
OF_GELU, OF_PRODUCT = 2, 3
"""Programs: of GELU, and of a product in 16 bits; 264 came of 28 products of a T5 in three shapes, two of 252 KiB and
one of 256 KiB for nearly each."""
KEPT = 1024 * OF_PRODUCT
"""Programs that oneDNN keeps: its cache has room for the products or convolutions of 1,024 shapes."""
STEPS, EVENTS = 24, 24_000
"""Steps that are replayed at most, and requests about; what others write is counted all the same."""
REPLAYS, ALL = 15, 60_000
"""Times that a training is replayed at most, and requests of all of them about; at least three times."""
LITTLE = 16 * 2**20
"""Bytes of a process below which its holes are not worth a second look."""


@dataclass(frozen=True, kw_only=True)
class Trace:
    """The requests of a rehearsal.

    Attributes:
        events: Number of a request, or ~number where it is freed, in order.
        sizes: Of each request, in bytes.
        ends: Where in the events each step ends.
        shapes: Of the batches of each step.
        moments: When each request came; at rest where nobody says.
        written: Of requests that are not written to as a whole.
        programs: Bytes of each program that oneDNN writes in a step for its products, once for a shape.
    """

    events: Sequence[int]
    sizes: Sequence[int]
    ends: Sequence[int]
    shapes: Sequence[Shape]
    programs: Sequence[int] = ()
    moments: Sequence[Moment] = ()
    written: Mapping[int, Written] = field(default_factory=dict[int, Written])

    def step(self, number: int) -> Sequence[int]:
        """The events of a step."""
        return self.events[self.ends[number - 1] if number else 0 : self.ends[number]]


def held(trace: Trace, order: Sequence[Shape], rules: Rules, *, steps: int) -> int:
    """Bytes at the peak by which a process grows, weights included.

    Args:
        trace: Of at least one step; those after the first are replayed, in sizes that suit the batches.
        order: Batches of an epoch after the first, in order; the steps of the trace follow one another if empty.
        rules: Of the allocator.
        steps: Of the whole training.
    """
    order = _whole(trace, order, steps)
    return _peak(_Replay(trace, rules), trace, order, steps=_most(trace, steps))


def spread(trace: Trace, order: Sequence[Shape], rules: Rules, *, steps: int) -> Sequence[int]:
    """As `held`, several times, the least first: each time other small objects lie beside the tensors.

    Which of them lie where differs from process to process, and the size of a heap hangs on it: one training of an MLP
    came to 114, 154 and 156 MiB. The arguments are those of `held`.
    """
    most, order = _most(trace, steps), _whole(trace, order, steps)
    once = _peak(_Replay(trace, rules), trace, order, steps=most)
    if once < LITTLE:
        return [once]
    each = len(trace.step(0)) + (most * len(trace.step(1)) if len(trace.ends) > 1 else 0)
    times = max(3, min(REPLAYS, ALL // max(1, each)))
    again = (_peak(_Replay(trace, rules, number), trace, order, steps=most) for number in range(1, times))
    return sorted([once, *again])


def _whole(trace: Trace, order: Sequence[Shape], steps: int) -> Sequence[Shape]:
    """The batches of an epoch after its first, and of as many more epochs as are replayed: a heap may grow in each."""
    epoch, whole = [trace.shapes[0], *order], [*order]
    while order and len(whole) < min(STEPS, steps - 1):
        whole += epoch
    return whole[: max(1, steps - 1)]


def _most(trace: Trace, steps: int) -> int:
    """Steps after the first that are replayed."""
    return max(1, min(steps - 1, STEPS, EVENTS // max(1, len(trace.step(1))))) if len(trace.ends) > 1 else 0


def _peak(replay: "_Replay", trace: Trace, order: Sequence[Shape], *, steps: int) -> int:
    replay.first()
    if len(trace.ends) > 1:
        shapes = order or [trace.shapes[1]] * steps
        chosen = _chosen(trace, shapes, most=steps)
        for place, shape in enumerate(shapes):
            if place in chosen:
                replay.again(shape)
            else:
                replay.write(shape)
    return replay.heap.peak - replay.before


def _chosen(trace: Trace, order: Sequence[Shape], *, most: int) -> frozenset[int]:
    """Which steps are replayed: the first, and of the others those in which most may be held at once."""
    first = min(len(order), (most + 1) // 2)
    each = _fullest(trace.step(1), trace.sizes) / max(1, trace.shapes[1].size)
    written, held = set[Shape](), list[float]()
    for shape in order:
        written.add(shape)
        held.append(each * shape.size + sum(trace.programs) * min(len(written), KEPT / max(1, len(trace.programs))))
    others = sorted(range(first, len(order)), key=lambda place: held[place], reverse=True)
    return frozenset([*range(first), *others[: most - first]])


def _fullest(step: Sequence[int], sizes: Sequence[int]) -> int:
    """Bytes that a step holds at once beside what was there before."""
    now = full = 0
    for event in step:
        now += sizes[event] if event >= 0 else -sizes[~event]
        full = max(full, now)
    return full


class _Replay:
    """Takes and gives as a trace says, from a heap like that of a process which has its libraries.

    The steps of a training are alike, small objects included, so that its heap comes to the same again and again: what
    lies beside the tensor at one place of a step is drawn once.

    Args:
        trace: What to do.
        rules: Of the allocator.
        number: Of the replay: which small objects lie where is drawn by it.

    Attributes:
        heap: It takes from it.
        before: Bytes that were resident before the training.
    """

    def __init__(self, trace: Trace, rules: Rules, number: int = 0) -> None:
        self._draw = random.Random(number)  # noqa: S311 (small objects, no secrets)
        self.heap = self._worn(rules)
        self.before = self.heap.resident
        self._drawn: dict[tuple[Moment, int], tuple[Company, Sequence[bool]]] = {}
        self._place: Counter[Moment] = Counter()
        self._moment = Moment.REST
        self._graph: list[int] = []
        self._trace = trace
        self._carried: defaultdict[int, deque[list[int]]] = defaultdict(deque)
        self._written: set[Shape] = set()
        self._left: list[int] = []
        self._every, self._count = 1, 0
        self._room = KEPT

    def _worn(self, rules: Rules) -> Heap:
        """A heap with small holes, and with some small chunks in the cache."""
        heap = Heap(rules)
        sizes = [size for size, count in HOLES.items() for _ in range(count)]
        sizes += [size for size in range(32, CACHED + 1, 16) for _ in range(self._draw.randint(0, rules.kept))]
        self._draw.shuffle(sizes)
        holes: list[int] = []
        for size in sizes:
            holes.append(heap.take_small(size - 8))
            # What lies between them is too large for the cache and stays.
            heap.take_small(CACHED)
        for hole in holes:
            heap.give(hole)
        return heap

    def first(self) -> None:
        """All until the end of the first step, and the books on what the second frees of it."""
        live: dict[int, list[int]] = {}
        self._begin(self._trace.shapes[0], self._trace.step(0))
        for event in self._trace.step(0):
            if event >= 0:
                live[event] = self._take(event, self._trace.sizes[event])
            elif ~event in live:
                self._give(live.pop(~event))
        self._end()
        if len(self._trace.ends) > 1:
            for event in self._trace.step(1):
                if event < 0 and ~event in live:
                    self._carried[self._trace.sizes[~event]].append(live.pop(~event))

    def again(self, shape: Shape) -> None:
        """The second step, in sizes that suit a batch; what a step leaves, the next one frees."""
        sizes = self._sizes(shape)
        self._begin(shape, self._trace.step(1))
        live: dict[int, list[int]] = {}
        for place, event in enumerate(self._trace.step(1)):
            if event >= 0:
                live[event] = self._take(event, sizes[place])
            elif ~event in live:
                self._give(live.pop(~event))
            elif self._carried[self._trace.sizes[~event]]:
                self._give(self._carried[self._trace.sizes[~event]].popleft())
        self._end()
        for event, handles in live.items():
            self._carried[self._trace.sizes[event]].append(handles)

    def write(self, shape: Shape) -> None:
        """Of a step what it leaves alone: its programs, if its shape is new."""
        for size in self._new(shape):
            self.heap.take(size)

    def _sizes(self, shape: Shape) -> Sequence[int]:
        """Of each request of the second step: those of the steps whose batches are next larger and smaller, mixed."""
        at, rows = self._known
        return [round(size) for size in _between(at, rows, float(shape.size))]

    @cached_property
    def _known(self) -> tuple[list[float], list[list[float]]]:
        """Sizes of batches, rising, and the requests of steps that do the same with them."""
        second, found = self._trace.step(1), dict[float, list[float]]()
        for number in range(1, len(self._trace.ends)):
            step = self._trace.step(number)
            if _outline(step) == _outline(second):
                wanted = [float(self._trace.sizes[max(event, ~event)]) for event in step]
                found.setdefault(float(self._trace.shapes[number].size), wanted)
        ordered = sorted(found)
        return ordered, [found[size] for size in ordered]

    def _begin(self, shape: Shape, step: Sequence[int]) -> None:
        """Programs for a shape that is new come one by one during the step."""
        self._left = self._new(shape)
        self._every, self._count = max(1, len(step) // 2 // max(1, len(self._left))), 0
        self._place.clear()

    def _new(self, shape: Shape) -> list[int]:
        """Programs to write for a shape, the first last, while there is room for them."""
        if shape in self._written:
            return []
        self._written.add(shape)
        found = [*self._trace.programs[: self._room]]
        self._room -= len(found)
        return found[::-1]

    def _take(self, event: int, size: int) -> list[int]:
        self._count += 1
        if self._left and self._count % self._every == 0:
            self.heap.take(self._left.pop())
        if (part := self._trace.written.get(event)) is not None:
            scale = size / max(1, self._trace.sizes[event]) if size else 1.0
            return [self.heap.take(round(scale * part.of), round(scale * part.bytes))]
        if size < SMALL:
            return [self.heap.take(size)]
        moment = self._trace.moments[event] if self._trace.moments else Moment.REST
        if self._moment is Moment.BACKWARD and moment not in (Moment.BACKWARD, Moment.PASSING):
            self._drop()
        self._moment = self._moment if moment is Moment.PASSING else moment
        company, stays = self._company(moment)
        handles = [self.heap.take_small(BEFORE), self.heap.take(size), *map(self.heap.take_small, company.own)]
        for node, stay in zip(company.graph, stays, strict=True):
            (self._graph if stay else handles).append(self.heap.take_small(node))
        return handles

    def _company(self, moment: Moment) -> tuple[Company, Sequence[bool]]:
        """Of the next tensor of a step: which it has, and which nodes of it stay."""
        self._place[moment] += 1
        place = moment, self._place[moment]
        if place not in self._drawn:
            company = self._draw.choice(COMPANIES[moment])
            self._drawn[place] = company, [self._draw.random() < STAYS for _ in company.graph]
        return self._drawn[place]

    def _end(self) -> None:
        """Programs beyond the requests of a step are written, too."""
        while self._left:
            self.heap.take(self._left.pop())
        self._drop()

    def _drop(self) -> None:
        """The graph goes when a backward pass is over, and with the step at the latest."""
        self._give(self._graph)
        self._graph = []

    def _give(self, handles: Sequence[int]) -> None:
        for handle in handles:
            self.heap.give(handle)


def programs(func: Any, args: Any, kwargs: Any) -> Mapping[Any, int]:
    """The programs that oneDNN writes for an operation, once for a shape: convolutions, GELU, and products in 16 bits.

    Returns:
        What each is known by, with its bytes.
    """
    name = getattr(getattr(func, "overloadpacket", None), "__name__", "")
    key = (name, *(tuple(one.shape) for one in args if isinstance(one, Tensor)))
    if "convolution" in name:
        return {(*key, part): CONVOLUTION for part in (("data", "weights") if "backward" in name else ("",))}
    if name in ("gelu", "gelu_backward") and kwargs.get("approximate", "none") == "none":
        return {(*key, part): GELU for part in range(OF_GELU)}
    half = any(isinstance(one, Tensor) and one.dtype in (torch.bfloat16, torch.float16) for one in args)
    product = half and name in ("mm", "addmm", "bmm", "baddbmm")
    return {(*key, part): PROGRAM for part in range(OF_PRODUCT)} if product else {}


def _outline(step: Sequence[int]) -> list[int]:
    """What a step does, whatever the sizes: its own requests by their place in it, and where they are freed."""
    numbers = {event: place for place, event in enumerate(step) if event >= 0}
    return [numbers[event] if event >= 0 else ~numbers.get(~event, len(step)) for event in step]


def _between(at: Sequence[float], rows: Sequence[Sequence[float]], wanted: float) -> Sequence[float]:
    """Rows at some points, linear between them and beyond the last, constant before the first."""
    place = int(np.searchsorted(at, wanted))
    if place == 0 or len(at) == 1:
        return rows[0]
    place = min(place, len(at) - 1)
    share = (wanted - at[place - 1]) / (at[place] - at[place - 1])
    return [low + share * (high - low) for low, high in zip(rows[place - 1], rows[place], strict=True)]
