"""What the units of an example are called."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Naming(Protocol):
    """What an adapter has beside `features` whose units have names: words, moments, columns."""

    def called(self, batch: Any) -> Sequence[Sequence[str]]:
        """For each of N examples the name of every unit, in the order of the units."""
        ...
