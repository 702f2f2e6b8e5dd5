"""How far a process grows in a training: the requests of its rehearsal, replayed to an allocator.

A tensor comes with small objects (`_company.py`), and it matters for the holes of a heap where they lie.
"""

import random
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from operator import attrgetter, itemgetter

import numpy as np

from steelyard.estimating._buffers import Buffers
from steelyard.estimating._company import BEFORE, COMPANIES, HOLES, PLAIN, STAYS, Company, Moment
from steelyard.estimating._heap import CACHED, Heap, Rules
from steelyard.estimating._onednn import Written
from steelyard.estimating._programs import KEPT, Due, Programs
from steelyard.estimating._shapes import Shape

SMALL = 1024
"""Bytes below which a tensor is a scalar or a list of sizes, and has no company here but what it is itself."""
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
        programs: That oneDNN writes.
        products: Whose factors MKL packs into buffers of its own.
        validated: Shapes of the batches that a validation has been through before the training.
        gradients: Of the requests, those that are gradients of weights.
        epoch: Steps after which they are freed, since validation follows; 0 where they stay.
        steady: Number of the step that all later ones are like.
    """

    events: Sequence[int]
    sizes: Sequence[int]
    ends: Sequence[int]
    shapes: Sequence[Shape]
    programs: Programs = field(default_factory=lambda: Programs((), ()))
    products: Programs = field(default_factory=lambda: Programs((), ()))
    validated: Sequence[Shape] = ()
    moments: Sequence[Moment] = ()
    written: Mapping[int, Written] = field(default_factory=dict[int, Written])
    gradients: Collection[int] = ()
    epoch: int = 0
    steady: int = 1

    def step(self, number: int) -> Sequence[int]:
        """The events of a step."""
        return self.events[self.ends[number - 1] if number else 0 : self.ends[number]]

    @property
    def repeats(self) -> bool:
        """Whether there is a steady step."""
        return len(self.ends) > self.steady


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
    each = len(trace.step(0)) + (most * len(trace.step(trace.steady)) if trace.repeats else 0)
    times = max(3, min(REPLAYS, ALL // max(1, each)))
    again = (_peak(_Replay(trace, rules, number), trace, order, steps=most) for number in range(1, times))
    return sorted([once, *again])


def _whole(trace: Trace, order: Sequence[Shape], steps: int) -> Sequence[Shape]:
    """The batches of an epoch after its first, and of as many more epochs as are replayed: a heap may grow in each."""
    epoch, whole = [trace.shapes[0], *order], [*order]
    left = max(1, steps - trace.steady)
    while order and len(whole) < min(STEPS, left):
        whole += epoch
    return whole[:left]


def _most(trace: Trace, steps: int) -> int:
    """Steps that are replayed once all are alike."""
    if not trace.repeats:
        return 0
    return max(1, min(steps - trace.steady, STEPS, EVENTS // max(1, len(trace.step(trace.steady)))))


def _peak(replay: "_Replay", trace: Trace, order: Sequence[Shape], *, steps: int) -> int:
    replay.first()
    if trace.repeats:
        shapes = order or [trace.shapes[trace.steady]] * steps
        chosen = _chosen(trace, shapes, most=steps)
        for place, shape in enumerate(shapes):
            if place in chosen:
                if trace.epoch and (place + trace.steady) % trace.epoch == 0:
                    replay.validated()
                replay.again(shape)
            else:
                replay.write(shape)
    return replay.heap.peak - replay.before


def _chosen(trace: Trace, order: Sequence[Shape], *, most: int) -> frozenset[int]:
    """Which steps are replayed: the first, and of the others those in which most may be held at once."""
    first = min(len(order), (most + 1) // 2)
    each = _fullest(trace.step(trace.steady), trace.sizes) / max(1, trace.shapes[trace.steady].size)
    written, held = dict[Hashable, int](), list[float]()
    for shape in order:
        new = [one for one in trace.programs.of(shape).items() if one[0] not in written]
        written |= {key: due.program.size for key, due in new[: KEPT - len(written)]}
        held.append(each * shape.size + sum(written.values()))
    others = sorted(range(first, len(order)), key=lambda place: held[place], reverse=True)
    return frozenset([*range(first), *others[: most - first]])


def _fullest(step: Sequence[int], sizes: Sequence[int]) -> int:
    """Bytes that a step holds at once beside what was there before."""
    now = full = 0
    for event in step:
        now += sizes[event] if event >= 0 else -sizes[~event]
        full = max(full, now)
    return full


@dataclass(frozen=True, slots=True)
class _Kept:
    """What stays of a program or a buffer.

    Attributes:
        place: In the step.
        requests: That stay.
        meanwhile: Bytes of the small ones that are there at once while these come.
    """

    place: int
    requests: Sequence[Written]
    meanwhile: Sequence[int] = ()


class _Replay:
    """Takes and gives as a trace says, from a heap like that of a process which has its libraries.

    The steps of a training are alike, small objects included, so that its heap comes to the same again and again: what
    lies beside the tensor at one place of a step is drawn once. Only the first and those that write programs have small
    objects of their own: of 438 requests for tensors in a step of a ResNet all came with the same ones in each step
    but for the first two, which had twice as many.

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
        self._drawn: dict[tuple[int, Moment, int], tuple[Company, Sequence[bool]]] = {}
        self._steps = self._manner = 0
        self._began = False
        self._place: Counter[Moment] = Counter()
        self._moment = Moment.REST
        self._graph: list[int] = []
        self._trace = trace
        self._carried: defaultdict[tuple[int, bool], deque[list[int]]] = defaultdict(deque)
        self._written: set[Hashable] = set()
        self._buffers = Buffers()
        self._left: deque[_Kept] = deque()
        for shape in trace.validated:
            self._written.update(trace.programs.validated(shape))
            self._buffers.new(trace.products.validated(shape))

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
        """All until the steps are alike, and the books on what the next one frees of it."""
        live: dict[int, list[int]] = {}
        for number in range(min(self._trace.steady, len(self._trace.ends))):
            products = self._trace.products.of_step(number)
            self._begin(self._trace.programs.of_step(number), products)
            for place, event in enumerate(self._trace.step(number)):
                self._keep(place)
                if event >= 0:
                    live[event] = self._take(event, self._trace.sizes[event])
                elif ~event in live:
                    self._give(live.pop(~event))
            self._end()
        if self._trace.repeats:
            for event in self._trace.step(self._trace.steady):
                if event < 0 and ~event in live:
                    self._carried[self._known_by(~event)].append(live.pop(~event))

    def again(self, shape: Shape) -> None:
        """A steady step, in sizes that suit a batch; what a step leaves, the next one frees."""
        sizes, steady = self._sizes(shape), self._trace.step(self._trace.steady)
        self._begin(self._trace.programs.of(shape), self._trace.products.of(shape))
        live: dict[int, list[int]] = {}
        for place, event in enumerate(steady):
            self._keep(place)
            if event >= 0:
                live[event] = self._take(event, sizes[place])
            elif ~event in live:
                self._give(live.pop(~event))
            elif self._carried[self._known_by(~event)]:
                self._give(self._carried[self._known_by(~event)].popleft())
        self._end()
        for event, handles in live.items():
            self._carried[self._known_by(event)].append(handles)

    def validated(self) -> None:
        """Frees the gradients, as Lightning does before it validates."""
        for (_, gradient), waiting in self._carried.items():
            while gradient and waiting:
                self._give(waiting.popleft())

    def write(self, shape: Shape) -> None:
        """Of a step what it leaves alone: its programs and buffers."""
        self._left.extend(self._new(self._trace.programs.of(shape), self._trace.products.of(shape)))
        self._keep()

    def _known_by(self, event: int) -> tuple[int, bool]:
        """By what a later step finds a request that it frees: its size, and whether it is a gradient."""
        return self._trace.sizes[event], event in self._trace.gradients

    def _keep(self, place: int | None = None) -> None:
        """The requests of programs and buffers that come up to a place in the step; all that are left where none."""
        while self._left and (place is None or self._left[0].place <= place):
            kept = self._left.popleft()
            meanwhile = [self.heap.take_small(size) for size in kept.meanwhile]
            for one in kept.requests:
                _ = self.heap.take(one.of, one.bytes) if one.of >= SMALL else self.heap.take_small(one.of)
            self._give(meanwhile)

    def _sizes(self, shape: Shape) -> Sequence[int]:
        """Of each request of a steady step: those of the steps whose batches are next larger and smaller, mixed."""
        at, rows = self._known
        return [round(size) for size in _between(at, rows, float(shape.size))]

    @cached_property
    def _known(self) -> tuple[list[float], list[list[float]]]:
        """Sizes of batches, rising, and the requests of steps that do the same with them."""
        outline, found = _outline(self._trace.step(self._trace.steady)), dict[float, list[float]]()
        for number in range(self._trace.steady, len(self._trace.ends)):
            step = self._trace.step(number)
            if _outline(step) == outline:
                wanted = [float(self._trace.sizes[max(event, ~event)]) for event in step]
                found.setdefault(float(self._trace.shapes[number].size), wanted)
        ordered = sorted(found)
        return ordered, [found[size] for size in ordered]

    def _begin(self, programs: Mapping[Hashable, Due], products: Mapping[Hashable, Due]) -> None:
        """Requests of programs and buffers that are new come with the operations that need them."""
        self._steps += 1
        self._left.extend(self._new(programs, products))
        self._manner = self._steps if self._left or self._steps <= self._trace.steady else 0
        self._place.clear()

    def _new(self, programs: Mapping[Hashable, Due], products: Mapping[Hashable, Due]) -> list["_Kept"]:
        """Requests of the programs to write, while there is room for them, and of buffers, by their place in the step.

        Pages of code are none of the heap's.
        """
        new = [key for key in programs if key not in self._written][: KEPT - len(self._written)]
        self._written.update(new)
        for key in new:
            self.heap.map(programs[key].program.code)
        found = [_Kept(products[key].places[0], [one]) for key, one in self._buffers.new(products).items()]
        for due in (programs[key] for key in new):
            for place, together in groupby(due.requests, key=itemgetter(0)):
                requests = [Written(size, size) for _, size in together]
                found.append(_Kept(place, requests, due.program.meanwhile))
        return sorted(found, key=attrgetter("place"))

    def _take(self, event: int, size: int) -> list[int]:
        if not self._began and self._trace.moments and self._trace.moments[event] is Moment.FORWARD:
            # The weights are older than the training, whose first tensors begin where another one ended.
            self._began = True
            self.heap.level()
        if (part := self._trace.written.get(event)) is not None:
            scale = size / max(1, self._trace.sizes[event]) if size else 1.0
            return [self.heap.take(round(scale * part.of), round(scale * part.bytes))]
        if size < SMALL:
            return [self.heap.take_small(BEFORE), self.heap.take(size), *map(self.heap.take_small, PLAIN.own)]
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
        place = self._manner, moment, self._place[moment]
        if place not in self._drawn:
            company = self._draw.choice(COMPANIES[moment])
            self._drawn[place] = company, [self._draw.random() < STAYS for _ in company.graph]
        return self._drawn[place]

    def _end(self) -> None:
        """Programs beyond the requests of a step are written, too."""
        self._keep()
        self._drop()

    def _drop(self) -> None:
        """The graph goes when a backward pass is over, and with the step at the latest."""
        self._give(self._graph)
        self._graph = []

    def _give(self, handles: Sequence[int]) -> None:
        for handle in handles:
            self.heap.give(handle)


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
