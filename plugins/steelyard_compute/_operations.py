"""Counting the operations of a training from a few of its batches."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from steelyard.estimating._flops import FlopCount
from steelyard.estimating._shapes import Shape, Total, shape_of, total

COUNTED = 12
"""Batches that are counted at most, of different shapes: counting makes a step slower."""
KEPT = 4096
"""Shapes that are kept apart at most."""


class Operations:
    """Sees one batch of a shape pass by, and tells what all of them took.

    Attributes:
        first: FLOPs of the first batch that was counted; 0 before.
        examples: In that batch.
        unknown: Operations without a formula, by name.
    """

    def __init__(self) -> None:
        self.first = 0
        self.examples = 0
        self.unknown: set[str] = set()
        self._counted: dict[Shape, float] = {}
        self._lengths: set[tuple[float, ...]] = set()
        self._seen = Counter[Shape]()
        self._count: FlopCount | None = None
        self._rested = True
        self._shape: Shape | None = None

    def open(self, batch: Any, *, rows: int, more: bool) -> None:
        """A batch begins, and is counted if it must be: the first with an example in it, then some of other lengths.

        Args:
            batch: As the training gets it.
            rows: Examples in it; Poisson sampling may draw none.
            more: Whether any but the first may be slowed down now.
        """
        shape = self._shape = shape_of(batch, rows=rows)
        wanted = bool(rows) and not self._counted
        # Never two in a row: a training whose batches all differ has step times, too.
        if rows and more and self._rested and 0 < len(self._counted) < COUNTED:
            wanted = shape.lengths not in self._lengths
        if wanted:
            self._count = FlopCount()
            self._count.start()

    def close(self) -> bool:
        """The batch has ended; tells whether it was counted, and so slower than others."""
        shape, self._shape = self._shape, None
        if shape is None:
            return False
        rows = shape.rows
        if rows and (shape in self._seen or len(self._seen) < KEPT):
            self._seen[shape] += 1
        self._rested = self._count is None
        if self._count is None:
            return False
        if not self._counted:
            self.first, self.examples = self._count.total, rows
        self._counted[shape] = float(self._count.total)
        self._lengths.add(shape.lengths)
        self.unknown |= set(self._count.unknown)
        self.leave()
        return True

    def leave(self) -> None:
        """Takes the counter away, if there is one."""
        if self._count is not None:
            self._count.stop()
            self._count = None

    @property
    def shapes(self) -> int:
        """Lengths that were counted."""
        return len(self._lengths)

    def total(self, *, examples: int) -> Total:
        """FLOPs of all batches together.

        Args:
            examples: In all of them, more than the shapes that were kept where there were very many.
        """
        found = total(self._counted, self._seen)
        kept = sum(shape.rows * count for shape, count in self._seen.items())
        return Total(value=found.value * examples / kept, told=found.told)

    def state(self) -> dict[str, Any]:
        """Plain numbers, for the checkpoint."""
        return {
            "flops": self.first,
            "examples": self.examples,
            "unknown": ", ".join(sorted(self.unknown)),
            "counted": [[shape.rows, [*shape.numbers], flops] for shape, flops in self._counted.items()],
            "seen": [[shape.rows, [*shape.numbers], count] for shape, count in self._seen.items()],
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        self.first, self.examples = state["flops"], state["examples"]
        self.unknown = set(filter(None, state["unknown"].split(", ")))
        # Checkpoints of before shapes were told apart have none.
        self._counted = {_shape(rows, numbers): flops for rows, numbers, flops in state.get("counted", ())}
        self._seen = Counter({_shape(rows, numbers): count for rows, numbers, count in state.get("seen", ())})
        self._lengths = {shape.lengths for shape in self._counted}


def _shape(rows: int, numbers: list[int]) -> Shape:
    return Shape(rows=rows, numbers=tuple(numbers))
