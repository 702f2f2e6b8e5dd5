"""What a trial tells its sweep of its progress."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Progressed:
    """How far a trial is.

    Attributes:
        share: Of the training, 0 to 1; None where its end is open.
        doing: In a few words.
    """

    share: float | None
    doing: str
