"""One value and its interval on a common scale, as a strip that stretches without distorting."""

from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup

from steelyard.report import svg

HEIGHT = 18


@dataclass(frozen=True, slots=True)
class Scale:
    """The range that the strips of one measurement share.

    Attributes:
        low: The value at the left end.
        high: The value at the right end.
    """

    low: float
    high: float

    def place(self, value: float) -> str:
        """A position as a percentage, kept off both ends so that no mark is cut."""
        span = self.high - self.low
        share = 0.5 if span == 0 else (value - self.low) / span
        return f"{4 + 92 * share:.2f}%"


def scale(values: Iterable[float]) -> Scale:
    """A scale that holds all values."""
    known = list(values)
    return Scale(min(known), max(known))


def strip(value: float, ends: tuple[float, float] | None, on: Scale, index: int) -> Markup:
    """The strip of one group. It says nothing that the text beside it does not say."""
    middle = HEIGHT / 2
    parts = [svg.element("line", x1="0", x2="100%", y1=middle, y2=middle, class_="rail")]
    if ends is not None:
        left, right = on.place(ends[0]), on.place(ends[1])
        parts.append(svg.element("line", x1=left, x2=right, y1=middle, y2=middle, class_=f"whisker s{index % 6}"))
    mark = svg.mark(index, (0, 0), f"mark s{index % 6}", size=5)
    parts.append(svg.element("svg", mark, x=on.place(value), y=middle, overflow="visible"))
    return svg.element("svg", *parts, width="100%", height=HEIGHT, class_="strip", aria_hidden="true")
