"""Numbers as a reader wants them: no more digits than the measurement carries, units that fit the size."""

import math
from dataclasses import dataclass

from steelyard.measurement import Measurement

MINUS, TIMES = "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_SECONDS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_PREFIXED = frozenset({"FLOP", "FLOP/s", "B", "B/s", "J", "W"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A measurement's value, ready to print.

    Attributes:
        value: e.g. "0.972".
        unit: e.g. "ms"; "" for a pure number.
        interval: Both ends in the same unit, or None.
    """

    value: str
    unit: str = ""
    interval: tuple[str, str] | None = None

    @property
    def full(self) -> str:
        """The value with its unit."""
        return f"{self.value} {self.unit}".strip()

    @property
    def range(self) -> str:
        """The interval as text, "" where there is none."""
        return "" if self.interval is None else f"{self.interval[0]} to {self.interval[1]}"


def shown(value: float, unit: str = "", interval: tuple[float, float] | None = None) -> Shown:
    """Chooses one unit and one number of digits for a value and its interval."""
    factor, scaled = _scale(max(abs(value), *(abs(end) for end in interval or (0.0,))), unit)
    ends = None if interval is None else (interval[0] / factor, interval[1] / factor)
    digits = None if ends is None else decimals((ends[1] - ends[0]) / 2)
    return Shown(
        value=number(value / factor, digits),
        unit=scaled,
        interval=None if ends is None else (number(ends[0], digits), number(ends[1], digits)),
    )


def shown_measurement(measurement: Measurement) -> Shown | None:
    """The value of a measurement, None where it has none."""
    return None if measurement.value is None else shown(measurement.value, measurement.unit, measurement.interval)


def decimals(uncertainty: float) -> int | None:
    """Places after the point that leave two digits of the uncertainty; None if it is zero."""
    if uncertainty <= 0 or not math.isfinite(uncertainty):
        return None
    return min(12, max(0, 1 - math.floor(math.log10(uncertainty))))


def number(value: float, places: int | None = None) -> str:
    """A number with a true minus sign and grouped thousands.

    Args:
        value: Any float.
        places: After the point; None for four significant digits.
    """
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "∞" if value > 0 else f"{MINUS}∞"
    size = abs(value)
    if size >= 1e7 or (0 < size < 1e-3 and (places is None or places > 5)):
        mantissa, exponent = f"{value:.2e}".split("e")
        text = f"{mantissa} {TIMES} 10{str(int(exponent)).translate(_SUPERSCRIPT)}"
    elif places is not None:
        text = f"{value:,.{places}f}"
    elif size >= 1000 or value == int(value):
        text = f"{value:,.0f}"
    else:
        text = f"{value:.4g}"
    return text.replace("-", MINUS)


def duration(seconds: float) -> str:
    """Wall time in words: "8.4 s", "3 min 20 s", "2 h 5 min"."""
    if seconds < 60:
        return shown(seconds, "s").full if seconds < 1 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _scale(size: float, unit: str) -> tuple[float, str]:
    if unit == "s" and 0 < size < 1:
        return next(((factor, name) for factor, name in _SECONDS if size >= factor), _SECONDS[-1])
    if unit in _PREFIXED:
        return next(((factor, prefix + unit) for factor, prefix in _PREFIXES if size >= factor), (1.0, unit))
    return 1.0, unit
