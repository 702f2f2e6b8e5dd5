"""Small plugins for the tests of the core; each misbehaves, or not, in one way."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from steelyard.attachment import Attachment
from steelyard.draft import Draft
from steelyard.measurement import Artefact, Measurement
from steelyard.plugin import Plugin
from steelyard.problem import Problem
from steelyard.runs import Run
from steelyard.seam import Seam

Measure = Callable[[Run], Iterator[Measurement | Artefact]]


class Speaking(Attachment):
    """An attachment that measures what it is told to."""

    def __init__(self, measure: Measure | None = None) -> None:
        self._measure = measure
        self.calls: list[str] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.calls.append("step")

    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        if self._measure is not None:
            yield from self._measure(run)


@dataclass(frozen=True, kw_only=True)
class Fake(Plugin):
    """Does at each point what the test gives it."""

    on_attach: Callable[[Draft], None] | None = None
    on_measure: Measure | None = None
    problems: tuple[Problem, ...] = ()
    made: list[Speaking] = field(default_factory=list, compare=False)

    def preflight(self, draft: Draft) -> Iterator[Problem]:
        yield from self.problems

    def attach(self, draft: Draft) -> Attachment:
        if self.on_attach is not None:
            self.on_attach(draft)
        attachment = Speaking(self.on_measure)
        self.made.append(attachment)
        return attachment


def claiming(*, owns: tuple[Seam, ...] = (), shares: tuple[Seam, ...] = ()) -> type[Fake]:
    """A Fake that claims these seams."""
    return type("Claiming", (Fake,), {"owns": frozenset(owns), "shares": frozenset(shares)})
