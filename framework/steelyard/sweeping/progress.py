"""What a trial tells its sweep while it runs."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """A metric after a validation; the trial waits to hear whether it is to go on.

    Attributes:
        step: Training steps so far.
        value: Of the metric.
    """

    step: int
    value: float
