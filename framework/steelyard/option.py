"""What a field of a declaration means: `Annotated[float, Option("noise over clipping norm", gt=0)]`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Option:
    """The documentation and range of one field; help, `plugins show` and the report print it.

    Attributes:
        help: The meaning, in one line.
        unit: "" for a pure number, else e.g. "seconds", "MiB", "pixels in [0, 1]".
        ge: Smallest allowed value.
        gt: Value that must be exceeded.
        le: Largest allowed value.
        lt: Value that must not be reached.
    """

    help: str
    unit: str = ""
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None

    def complaint(self, value: float) -> str | None:
        """Why `value` is out of range, or None."""
        kept = (
            (self.ge, self.ge is None or value >= self.ge, "at least"),
            (self.gt, self.gt is None or value > self.gt, "more than"),
            (self.le, self.le is None or value <= self.le, "at most"),
            (self.lt, self.lt is None or value < self.lt, "less than"),
        )
        return next((f"must be {word} {limit:g}, got {value:g}" for limit, fine, word in kept if not fine), None)
