"""Texts as they were read, before they are split and tokenised."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """Texts with classes, or with answers, or alone (for language modelling).

    Attributes:
        texts: One per example.
        labels: Its class from 0 on, or None.
        answers: The text that shall come out, e.g. the translation, or None.
        names: What the classes are called.
        tests: How many examples at the end are the source's own test set; 0 where a fraction is dealt out instead.
        source: Where they come from, for messages.
        rows: The number that the source gives to each example, for messages; None counts from 1.
    """

    texts: Sequence[str]
    labels: Sequence[int] | None = None
    answers: Sequence[str] | None = None
    names: tuple[str, ...] = ()
    tests: int = 0
    source: str
    rows: Sequence[int] | None = None

    def __post_init__(self) -> None:
        assert self.labels is None or self.answers is None
        parts = (self.labels, self.answers, self.rows)
        assert all(len(part) == len(self.texts) for part in parts if part is not None)

    def row(self, at: int) -> int:
        """What the source calls an example, for messages."""
        return at + 1 if self.rows is None else self.rows[at]
