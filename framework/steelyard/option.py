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
        for limit, broken, word in (
            (self.ge, lambda limit: value < limit, "at least"),
            (self.gt, lambda limit: value <= limit, "more than"),
            (self.le, lambda limit: value > limit, "at most"),
            (self.lt, lambda limit: value >= limit, "less than"),
        ):
            if limit is not None and (broken(limit) or value != value):
                return f"must be {word} {limit:g}, got {value:g}"
        return None
