"""Which batches a rehearsal is made of."""

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from statistics import mean
from typing import Any, Protocol

from torch.utils.data import DataLoader

from steelyard.estimating._fake import Fakes
from steelyard.estimating._ledger import tensors_in
from steelyard.estimating._shapes import Shape, deciding, shape_of, spread_out

LOOKED, BYTES = 512, 32 * 2**20
"""Batches of an epoch that are looked at, and their bytes, at most: to see their shapes they must be loaded."""


class Batches(Protocol):
    """A loader of batches without numbers.

    Attributes:
        steps: To be taken with them.
        least: Of these, what the operations of all others can be told from.
        steady: Number of the step that all later ones are like: the second has the optimizer's state; where a loader
            draws its batches, those who make it look once more at what they do, and it is the third.
        seen: How many batches of each shape an epoch has, where they differ.
        told: The same in words.
        expected: Examples of a batch in the mean, where a loader that draws them says so.
        order: Shapes of the first steps after the first, where they differ; of batches that are put together to a step,
            the largest.
    """

    steps: int
    least: int
    steady: int
    seen: Counter[Shape]
    told: str

    @property
    def expected(self) -> int | None: ...
    @property
    def order(self) -> Sequence[Shape]: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Any]: ...


def batches_of(inner: Any, fakes: Fakes, *, size: Callable[[Any], int], steps: int, each: int) -> Batches:
    """What a loader would give; where its batches differ, its first, the largest, and some others after them.

    Args:
        inner: The loader, with all wraps.
        fakes: Makes shapes of its batches.
        size: Examples in a batch.
        steps: Least number of steps.
        each: Batches of a step.
    """
    plain: Any = DataLoader
    if type(inner) is not plain:
        # Its next batch may depend on what was done with the last one, and be larger: one more is looked at.
        return _AsTheyCome(inner, fakes, size=size, steps=steps + 1)
    batches = iter(inner)
    # One more than are taken, to see whether they differ.
    first = [*islice(batches, steps + 1)]
    shapes = [shape_of(batch, rows=size(batch)) for batch in first]
    if len(set(shapes)) < 2:
        return _Chosen(inner, fakes, first[:steps], steps=steps, least=steps, each=each)
    kept = dict(zip(shapes, first, strict=True))
    seen, order = Counter(shapes), [*shapes]
    room = BYTES - sum(map(_bytes, first))
    for batch in islice(batches, LOOKED - len(first)):
        shape = shape_of(batch, rows=size(batch))
        seen[shape] += 1
        order.append(shape)
        kept.setdefault(shape, batch)
        room -= _bytes(batch)
        if room < 0:
            break
    largest = max(seen, key=lambda shape: (shape.size, shape.rows))
    others = [shape for shape in spread_out([*seen]) if shape.lengths != largest.lengths]
    smallest = min(seen, key=lambda shape: (shape.size, shape.rows))
    chosen = [shapes[0], largest, *(others or [smallest])]
    return _Chosen(
        inner,
        fakes,
        [first[0], *(kept[shape] for shape in chosen[1:])],
        steps=len(chosen),
        least=_least(chosen, deciding([*seen])),
        each=each,
        seen=seen,
        told=_told(seen, largest, len(inner)),
        order=_fullest(order, each)[1:],
    )


def _least(chosen: Sequence[Shape], lengths: int) -> int:
    """How many of the first have so many different lengths; two at least."""
    counts = range(2, len(chosen))
    return next((count for count in counts if len({one.lengths for one in chosen[:count]}) >= lengths), len(chosen))


def _fullest(order: Sequence[Shape], each: int) -> Sequence[Shape]:
    """Of the batches of each step the largest: all are rehearsed and replayed in one shape."""
    return [max(order[at : at + each], key=lambda shape: shape.size) for at in range(0, len(order), each)]


@dataclass
class _Chosen:
    """Batches that were looked at, each for a whole step; after the last one the first comes again."""

    inner: Any
    fakes: Fakes
    batches: Sequence[Any]
    steps: int
    least: int
    each: int
    seen: Counter[Shape] = field(default_factory=Counter[Shape])
    told: str = ""
    order: Sequence[Shape] = ()
    steady: int = 1
    expected: int | None = None

    @property
    def batch_size(self) -> Any:
        return self.inner.batch_size

    def __len__(self) -> int:
        return max(len(self.inner), self.steps * self.each) if self.batches else 0

    def __iter__(self) -> Iterator[Any]:
        for place in range(len(self)):
            yield self.fakes.batch(self.batches[place // self.each % len(self.batches)])


class _AsTheyCome:
    """The batches of a loader, made real and handed on as shapes."""

    def __init__(self, inner: Any, fakes: Fakes, *, size: Callable[[Any], int], steps: int) -> None:
        self._inner = inner
        self._fakes = fakes
        self._size = size
        self._shapes: list[Shape] = []
        self.batch_size = getattr(inner, "batch_size", None)
        self.steps, self.least, self.steady, self.told = steps, steps, steps - 1, ""
        self.seen = Counter[Shape]()

    @property
    def expected(self) -> int | None:
        varies = len({shape.rows for shape in self._shapes}) > 1
        return self.batch_size if varies and isinstance(self.batch_size, int) else None

    @property
    def order(self) -> Sequence[Shape]:
        return drawn(self._shapes, expected=self.expected, batches=len(self._inner))

    def __len__(self) -> int:
        return len(self._inner)

    def __iter__(self) -> Iterator[Any]:
        with self._fakes.left():
            batches = iter(self._inner)
        while True:
            with self._fakes.left():
                try:
                    batch = next(batches)
                except StopIteration:
                    return
            self._shapes.append(shape_of(batch, rows=self._size(batch)))
            yield self._fakes.batch(batch)


def drawn(shapes: Sequence[Shape], *, expected: int | None = None, batches: int = 0) -> Sequence[Shape]:
    """What batches may look like that come after the first and differ in nothing but their number of examples.

    Where each example is drawn for itself the number varies by about the root of its mean, and by less where an epoch
    has few batches: most steps have a batch of a shape that was not there before, and the largest has some three
    deviations more than the mean.

    Args:
        shapes: Of the first batches.
        expected: Mean number of examples; None: that of the first batches.
        batches: Of an epoch, so that its reciprocal is the chance of an example; 0 where there is no end of them.
    """
    if len({shape.rows for shape in shapes}) < 2 or len({shape.lengths for shape in shapes}) > 1:
        return ()
    middle, draw = expected or mean(shape.rows for shape in shapes), random.Random(0)  # noqa: S311 (sizes, no secrets)
    deviation = math.sqrt(middle * (1 - 1 / batches)) if batches else math.sqrt(middle)
    rows = [max(1, round(draw.gauss(middle, deviation))) for _ in range(LOOKED)]
    return [Shape(rows=count, numbers=tuple(round(count * each) for each in shapes[0].lengths)) for count in rows]


def _bytes(batch: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors_in(batch))


def _told(seen: Counter[Shape], largest: Shape, epoch: int) -> str:
    looked = seen.total()
    of = f"the {looked}" if looked == epoch else f"{looked} of {epoch}"
    mean = sum(shape.size * count for shape, count in seen.items()) / looked
    return (
        f"of {len(seen)} shapes in {of} batches of an epoch: memory is that of the largest ({largest.size:,} numbers, "
        f"{largest.size / mean:.2g} times the mean), operations are the mean"
    )
