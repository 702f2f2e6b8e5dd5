from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from omegaconf import OmegaConf

from steelyard import Option
from steelyard.problem import Refused
from steelyard.schema import attempt, build, describe, settings, show, twin


class Colour(StrEnum):
    RED = "red"
    DARK_BLUE = "dark blue"


@dataclass(frozen=True, kw_only=True)
class Warmup:
    steps: Annotated[int, Option("steps of warm-up", ge=0)] = 10


@dataclass(frozen=True, kw_only=True)
class Everything:
    needed: Annotated[float, Option("has no default", gt=0)]
    switch: bool = False
    count: Annotated[int, Option("how many", unit="examples", ge=1, lt=100)] = 3
    rate: float = 0.5
    text: str = "x"
    path: Path | None = None
    colour: Colour = Colour.RED
    mode: Literal["mean", "sum", 3] = "mean"
    limit: Annotated[float | None, Option("none or a number", gt=0)] = None
    either: int | str = 1
    levels: Annotated[tuple[float, ...], Option("each at least 0", ge=0)] = (0.0, 0.1)
    pair: tuple[int, str] = (1, "a")
    weights: dict[str, float] = field(default_factory=dict[str, float])
    warmup: Warmup = Warmup()
    stages: tuple[Warmup, ...] = ()


def problems(**node: Any) -> dict[str, str]:
    _, found = attempt(Everything, {"needed": 1, **node}, path="a.b")
    return {problem.message: problem.fix for problem in found}


def test_the_twin_holds_plain_defaults() -> None:
    made = twin(Everything)
    assert made["needed"] == "???"
    assert (made["colour"], made["levels"], made["path"]) == ("red", [0.0, 0.1], None)
    assert made["warmup"] == {"steps": 10}
    assert OmegaConf.to_container(OmegaConf.create(made)) == made


def test_there_and_back() -> None:
    node = {
        "needed": 2,
        "switch": True,
        "count": 4.0,
        "rate": 1,
        "text": 7,
        "path": "a/b",
        "colour": "dark blue",
        "mode": 3,
        "limit": 0.5,
        "either": "two",
        "levels": [1, 2],
        "pair": [2, "b"],
        "weights": {"a": 1},
        "warmup": {"steps": 0},
        "stages": [{"steps": 1}, {}],
    }
    made = build(Everything, OmegaConf.create(node), path="a.b")
    assert made == Everything(
        needed=2.0,
        switch=True,
        count=4,
        rate=1.0,
        text="7",
        path=Path("a/b"),
        colour=Colour.DARK_BLUE,
        mode=3,
        limit=0.5,
        either="two",
        levels=(1.0, 2.0),
        pair=(2, "b"),
        weights={"a": 1.0},
        warmup=Warmup(steps=0),
        stages=(Warmup(steps=1), Warmup()),
    )
    assert type(made.rate) is float
    assert build(Everything, settings(made), path="a.b") == made


@pytest.mark.parametrize(
    ("node", "message", "fix"),
    [
        ({"cout": 4}, "a.b has no field cout; did you mean count?", "a.b.count=4"),
        ({"switch": 1}, "a.b.switch must be a bool, got 1", "a.b.switch=true"),
        ({"switch": "yes"}, "a.b.switch must be a bool, got 'yes'", "a.b.switch=true"),
        ({"count": True}, "a.b.count must be an int, got True", "a.b.count=1"),
        ({"count": 1.5}, "a.b.count must be an int, got 1.5", "a.b.count=1"),
        ({"count": 0}, "a.b.count must be at least 1, got 0", "a.b.count=1"),
        ({"count": 100}, "a.b.count must be less than 100, got 100", "a.b.count=1"),
        ({"rate": "fast"}, "a.b.rate must be a float, got 'fast'", "a.b.rate=0.1"),
        ({"rate": float("nan")}, "a.b.rate must be a float, got nan", "a.b.rate=0.1"),
        ({"rate": None}, "a.b.rate must be a float, got None", "a.b.rate=0.1"),
        ({"text": True}, "a.b.text must be a str, got True", "a.b.text=..."),
        ({"colour": "blue"}, "a.b.colour must be one of red, dark blue, got 'blue'; did you mean dark blue?", None),
        ({"mode": "man"}, "a.b.mode must be one of mean, sum, 3, got 'man'; did you mean mean?", "a.b.mode=mean"),
        ({"limit": "x"}, "a.b.limit must be a float, got 'x' (null is allowed)", "a.b.limit=0.1"),
        ({"limit": -1}, "a.b.limit must be more than 0, got -1", "a.b.limit=0.1"),
        ({"levels": 0.5}, "a.b.levels must be a list [float, ...], got 0.5", "a.b.levels=[0.5]"),
        ({"levels": [0, -1]}, "a.b.levels [1] must be at least 0, got -1", None),
        ({"pair": [1]}, "a.b.pair must be a list of 2, got 1: [1]", "a.b.pair=[1,...]"),
        ({"weights": {"a": "b"}}, "a.b.weights [a] must be a float, got 'b'", None),
        ({"warmup": {"steps": -1}}, "a.b.warmup.steps must be at least 0, got -1", "a.b.warmup.steps=0"),
        ({"warmup": {"step": 1}}, "a.b.warmup has no field step; did you mean steps?", "a.b.warmup.steps=1"),
        ({"warmup": 3}, "a.b.warmup holds settings, got 3", "a.b.warmup.steps=..."),
        ({"stages": [{"steps": "x"}]}, "a.b.stages [0] steps must be an int, got 'x'", None),
        ({"needed": "???"}, "a.b.needed has no default: it needs a value (float)", "a.b.needed=..."),
    ],
)
def test_every_wrong_value_has_a_message_and_a_fix(node: dict[str, Any], message: str, fix: str | None) -> None:
    found = problems(**node)
    assert list(found) == [message]
    assert fix is None or found[message] == fix


def test_all_problems_come_at_once() -> None:
    with pytest.raises(Refused) as refused:
        build(Everything, {"cout": 1, "rate": "x", "warmup": {"steps": -1}}, path="a.b")
    assert len(refused.value.problems) == 4


def test_partial_settings_may_lack_values_but_not_be_wrong() -> None:
    assert attempt(Everything, {"count": 2}, path="a", partial=True) == (None, ())
    assert len(attempt(Everything, {"count": "x"}, path="a", partial=True)[1]) == 1


def test_fields_that_contradict_each_other_are_a_problem_too() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Range:
        low: int = 0
        high: int = 1

        def __post_init__(self) -> None:
            if self.low > self.high:
                raise ValueError("low is above high")

    with pytest.raises(Refused, match=r"a\.range: low is above high"):
        build(Range, {"low": 2}, path="a.range")


def test_describe_says_type_default_unit_range_and_meaning() -> None:
    rows = {row.path: row for row in describe(Everything)}
    count = rows["count"]
    assert (count.type, count.default, count.unit, count.range, count.help) == (
        "int",
        "3",
        "examples",
        ">= 1, < 100",
        "how many",
    )
    assert rows["warmup.steps"].help == "steps of warm-up"
    assert rows["colour"].type == "red | dark blue"
    assert rows["limit"].type == "float | null"
    assert rows["levels"].default == "[0,0.1]"
    assert rows["needed"].default == "???"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "null"), (True, "true"), (1e-7, "1e-07"), (0.1, "0.1"), ("", "''"), ({"a": [1, None]}, "{a:[1,null]}")],
)
def test_values_are_shown_as_typed(value: Any, text: str) -> None:
    assert show(value) == text
