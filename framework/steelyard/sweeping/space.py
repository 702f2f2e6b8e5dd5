"""What a sweep looks through: fixed words, lists of alternatives, and intervals, read by Hydra's own grammar."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Hydra's values are a tree of anything.

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from steelyard.problem import Problem, Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A key with alternatives.

    Attributes:
        key: What stands before `=`.
        options: What may stand behind it, as text that reads as the value again; at least one.
        ordered: True for numbers from `range(...)`, which have a distance.
    """

    key: str
    options: tuple[str, ...]
    ordered: bool = False

    @property
    def fixed(self) -> bool:
        """True if there is only one."""
        return len(self.options) == 1

    def draw(self, random: Random) -> str:
        """One of them, each as likely as the others."""
        return random.choice(self.options)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A key with a number between two others.

    Attributes:
        key: What stands before `=`.
        low: The smallest value.
        high: The greatest value, itself included.
        log: True to draw the logarithm evenly: `tag(log, interval(1e-5, 1e-1))`.
        whole: True for whole numbers: `int(interval(1, 64))`.
    """

    key: str
    low: float
    high: float
    log: bool
    whole: bool

    def draw(self, random: Random) -> str:
        """A number from `low` to `high`."""
        low, high = (self.low - 0.5, self.high + 0.5) if self.whole else (self.low, self.high)
        drawn = math.exp(random.uniform(math.log(low), math.log(high))) if self.log else random.uniform(low, high)
        return self.text(drawn)

    def text(self, value: float) -> str:
        """A value as it stands in an override; rounding never leads out of the interval."""
        kept = min(max(value, self.low), self.high)
        return str(round(kept)) if self.whole else repr(float(kept))


Dimension = Choice | Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """Everything that the words of a sweep allow.

    Attributes:
        dimensions: One per key; a key that is fixed has one option.
    """

    dimensions: tuple[Dimension, ...]

    @property
    def size(self) -> float:
        """How many different trials there are; infinite with an interval of real numbers."""
        return math.prod(_size(one) for one in self.dimensions)

    def words(self, values: Sequence[str]) -> tuple[str, ...]:
        """One trial's overrides, given a value for each dimension in order."""
        return tuple(f"{one.key}={value}" for one, value in zip(self.dimensions, values, strict=True))

    def random(self, count: int, *, seed: int) -> Iterator[tuple[str, ...]]:
        """Up to `count` different trials, drawn at random (Bergstra and Bengio, JMLR 13, 2012).

        A value depends on the seed, the key and the number of the draw alone: with a greater `count` the first trials
        stay what they were, and another dimension leaves the values of the others.

        Args:
            count: How many; fewer come where the space holds no more.
            seed: Any number.
        """
        seen: set[tuple[str, ...]] = set()
        wanted, draw = min(count, self.size), 0
        while len(seen) < wanted:
            values = tuple(one.draw(Random(f"{seed} {one.key} {draw}")) for one in self.dimensions)  # noqa: S311
            draw += 1
            if values not in seen:
                seen.add(values)
                yield self.words(values)


def read_space(words: Iterable[str], loader: ConfigLoader | None = None) -> Space:
    """The space of the words; of several for one key the last counts, as in Hydra's grid.

    Args:
        words: Overrides, swept ones among them.
        loader: Knows the options that `glob(...)` looks through.

    Raises:
        Refused: With every interval that cannot be drawn from.
        hydra.errors.HydraException: If a word is no override.
    """
    found: dict[str, Dimension] = {}
    problems: list[Problem] = []
    for override in OverridesParser.create(config_loader=loader).parse_overrides(list(words)):
        key = str(override.get_key_element())
        value: Any = override.value()
        if isinstance(value, IntervalSweep):
            problem, one = _interval(key, value, str(override.input_line))
            problems += problem
            found[key] = one
        else:
            options = tuple(_options(override))
            found[key] = Choice(key=key, options=options, ordered=isinstance(value, RangeSweep))
            if not options:
                problems.append(Problem(f"{override.input_line} has no alternatives", f"{key}=..."))
    if problems:
        raise Refused(problems)
    return Space(dimensions=tuple(found.values()))


def _options(override: Override) -> Iterator[str]:
    if override.is_sweep_override():
        yield from dict.fromkeys(str(one) for one in override.sweep_string_iterator())
    else:
        yield str(override.get_value_element_as_str())


def _interval(key: str, value: IntervalSweep, text: str) -> tuple[list[Problem], Interval]:
    assert value.start is not None
    assert value.end is not None
    log, whole = "log" in value.tags, isinstance(value.start, int)
    made = Interval(key=key, low=value.start, high=value.end, log=log, whole=whole)
    problems: list[Problem] = []
    if not (math.isfinite(made.low) and math.isfinite(made.high) and made.low <= made.high):
        problems.append(Problem(f"{text}: an interval goes from a smaller to a greater number", f"{key}=interval(0,1)"))
    elif log and made.low <= 0:
        fix = f"{key}=tag(log,interval(1e-05,{value.end:g}))"
        problems.append(Problem(f"{text}: only positive numbers have a logarithm", fix))
    return problems, made


def _size(one: Dimension) -> float:
    if isinstance(one, Choice):
        return len(one.options)
    return one.high - one.low + 1 if one.whole else 1 if one.low == one.high else math.inf
