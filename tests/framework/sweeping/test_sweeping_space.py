"""What a sweep may draw from, and random search through it."""

import math
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from scipy.stats import kstest

from steelyard.composing import expand
from steelyard.problem import Refused
from steelyard.sweeping.space import Choice, Interval, read_space

Words = tuple[str, ...]


def test_hydras_grammar_is_understood() -> None:
    space = read_space(
        ["a=1", "b=x,'y z'", "+c=range(0,1,0.5)", "d=interval(0,2)", "e=tag(log,int(interval(1,8)))", "f=[1,2],[3]"]
    )
    assert space.dimensions == (
        Choice(key="a", options=("1",)),
        Choice(key="b", options=("x", "'y z'")),
        Choice(key="+c", options=("0.0", "0.5"), ordered=True),
        Interval(key="d", low=0.0, high=2.0, log=False, whole=False),
        Interval(key="e", low=1, high=8, log=True, whole=True),
        Choice(key="f", options=("[1,2]", "[3]")),
    )
    assert space.size == math.inf


def test_the_last_word_for_a_key_counts() -> None:
    assert read_space(["a=1,2", "a=3"]).words(["3"]) == ("a=3",)


@pytest.mark.parametrize(
    ("word", "fix"),
    [("a=interval(2,1)", "a=interval(0,1)"), ("a=tag(log,interval(0,1))", "a=tag(log,interval(1e-05,1))")],
)
def test_an_interval_that_cannot_be_drawn_from(word: str, fix: str) -> None:
    with pytest.raises(Refused) as caught:
        read_space([word])
    assert [problem.fix for problem in caught.value.problems] == [fix]


def test_draws_are_spread_as_asked() -> None:
    space = read_space(["a=interval(2,4)", "b=tag(log,interval(1e-4,1e-1))", "c=int(interval(1,4))", "d=x,y"])
    drawn = [[word.partition("=")[2] for word in trial] for trial in space.random(2000, seed=0)]
    a, b, c, d = zip(*drawn, strict=True)
    assert kstest([float(one) for one in a], "uniform", (2, 2)).pvalue > 0.01
    assert kstest([math.log10(float(one)) for one in b], "uniform", (-4, 3)).pvalue > 0.01
    for values, options in ((c, ("1", "2", "3", "4")), (d, ("x", "y"))):
        expected = len(drawn) / len(options)
        # Five standard deviations of a binomial count.
        width = 5 * math.sqrt(expected * (1 - 1 / len(options)))
        assert {one: abs(values.count(one) - expected) < width for one in set(values)} == dict.fromkeys(options, True)


def test_more_trials_begin_with_the_same_and_another_key_changes_no_value() -> None:
    words = ["a=interval(0,1)", "b=x,y,z"]
    few, many = (list(read_space(words).random(count, seed=3)) for count in (5, 9))
    assert many[:5] == few
    wider = list(read_space([*words, "c=interval(0,1)"]).random(5, seed=3))
    assert [trial[0] for trial in wider] == [trial[0] for trial in few]
    assert list(read_space(words).random(5, seed=4)) != few


def test_a_small_space_is_drawn_whole_and_each_trial_once() -> None:
    drawn = list(read_space(["a=1,2,3", "b=int(interval(0,1))"]).random(100, seed=0))
    assert len(drawn) == len(set(drawn)) == 6


def test_a_value_reads_as_itself() -> None:
    interval = Interval(key="a", low=1e-7, high=0.3, log=True, whole=False)
    for value in (1e-7, 0.1 + 0.2, 1 / 3):
        (read,) = OverridesParser.create().parse_overrides([f"a={interval.text(value)}"])
        assert read.value() == min(value, 0.3)


def test_random_trials_are_composed_like_any_other(nothing: Words, tmp_path: Path) -> None:
    words = (*nothing, "hydra/sweeper=random", "hydra.sweeper.n_trials=3", "hydra.sweeper.seed=1")
    trials = expand(*words, "optimizer.lr=interval(0.1,0.2)", "optimizer=glob(ada*)", place=tmp_path)
    again = expand(*words, "optimizer.lr=interval(0.1,0.2)", "optimizer=glob(ada*)", place=tmp_path)
    assert [trial.overrides for trial in trials] == [trial.overrides for trial in again]
    assert len({trial.overrides for trial in trials}) == 3
    assert all(trial.composed and 0.1 <= trial.composed.config.optimizer.lr <= 0.2 for trial in trials)


def test_nothing_to_draw(nothing: Words, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="n_trials"):
        expand(*nothing, "hydra/sweeper=random", "hydra.sweeper.n_trials=0", place=tmp_path)
