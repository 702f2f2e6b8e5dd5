"""How a task gives its own headline figures."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from steelyard.measurement import Artefact, Measurement
from steelyard.runs import Run


@runtime_checkable
class Measured(Protocol):
    """A task that says how good it is, with intervals; the scorecard shows it under "task".

    Any LightningModule with such a method is one; it need not inherit from anything of ours.
    """

    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """Short names ("accuracy"); the core puts "task." before them."""
        ...
