"""Numbers as a reader wants them: no more digits than the measurement carries, units that fit the size."""

import math
from collections.abc import Iterable
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """One unit and one number of digits, for numbers that stand side by side.

    Attributes:
        factor: What a value is divided by.
        unit: What is left of it.
        places: After the point; None for four significant digits.
    """

    factor: float = 1.0
    unit: str = ""
    places: int | None = None

    def show(self, value: float, interval: tuple[float, float] | None = None) -> Shown:
        """A value and its interval in this style."""
        ends = None if interval is None else (self.text(interval[0]), self.text(interval[1]))
        return Shown(value=self.text(value), unit=self.unit, interval=ends)

    def text(self, value: float) -> str:
        """A number in this style, without its unit."""
        return number(value / self.factor, self.places)


def style(values: Iterable[float], unit: str = "", uncertainties: Iterable[float] = ()) -> Style:
    """The style of values with their uncertainties; the largest of each decides."""
    factor, scaled = _scale(max(map(abs, values), default=0.0), unit)
    return Style(factor=factor, unit=scaled, places=decimals(max(uncertainties, default=0.0) / factor))


def shown(value: float, unit: str = "", interval: tuple[float, float] | None = None) -> Shown:
    """A value and its interval, in a style of their own."""
    if interval is None:
        return style([value], unit).show(value)
    return style([value, *interval], unit, [(interval[1] - interval[0]) / 2]).show(value, interval)


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
        # Adding 0 turns the -0.0 of a small negative value into 0.0.
        text = f"{round(value, places) + 0.0:,.{places}f}"
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
