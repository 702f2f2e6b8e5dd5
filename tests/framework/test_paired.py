"""Two runs on the same examples, each example held against itself."""

import csv
import json
import random

import pytest
from scipy import stats

from steelyard.measurement import Better, Measurement
from steelyard.report.numbers import Style
from steelyard.report.standing import standing
from steelyard.trials import Trial
from steelyard.trials.folding import fold, groups, told_apart
from steelyard.trials.paired import differ, mcnemar, pairs_of


def kept(place, values, *, data="d", targets=None):
    """A run folder with what its task kept of each example."""
    (place / "task").mkdir(parents=True)
    (place / "provenance.json").write_text(json.dumps({"data_fingerprint": data}))
    rows = [(target, value, "") for target, value in zip(targets or range(len(values)), values, strict=True)]
    with (place / "task" / "examples.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("target", "accuracy", "loss"), *rows])
    return place


def differing(count, ups, downs):
    same = [1.0] * (count - ups - downs)
    return [*same, *[1.0] * ups, *[0.0] * downs], [*same, *[0.0] * ups, *[1.0] * downs]


@pytest.mark.parametrize(
    ("fewer", "count"), [(0, 0), (0, 1), (0, 5), (0, 6), (2, 12), (40, 100), (50, 100), (900, 2000)]
)
def test_mcnemar_is_the_binomial_test_of_the_pairs_that_differ(fewer, count):
    expected = stats.binomtest(fewer, count).pvalue if count else 1.0
    assert mcnemar(fewer, count - fewer) == pytest.approx(expected, rel=1e-9)
    assert mcnemar(count - fewer, fewer) == mcnemar(fewer, count - fewer)


def test_right_and_wrong_answers_count_where_they_differ():
    assert differ(list(zip(*differing(1000, 5, 0), strict=True))) is False
    assert differ(list(zip(*differing(1000, 6, 0), strict=True))) is True
    assert differ(list(zip(*differing(10, 6, 0), strict=True))) is True


def test_other_values_differ_as_scipy_says():
    draw = random.Random(3)
    told = []
    for _ in range(60):
        shared = [draw.gauss(0, 3) for _ in range(40)]
        first, second = ([one + draw.gauss(shift, 1) for one in shared] for shift in (0.0, 0.4))
        told.append(differ(list(zip(first, second, strict=True))))
        assert told[-1] == (stats.ttest_rel(first, second).pvalue < 0.05)
    assert 10 < sum(told) < 50


def test_chance_alone_tells_no_more_than_a_twentieth_apart():
    draw = random.Random(4)
    alarms = 0
    for _ in range(600):
        hard = [draw.random() for _ in range(150)]
        pair = [[float(draw.random() < one) for one in hard] for _ in "ab"]
        alarms += differ(list(zip(*pair, strict=True)))
    assert alarms <= stats.binom.ppf(0.999, 600, 0.05)


def test_only_the_same_examples_are_paired(tmp_path):
    one = kept(tmp_path / "one", [1, 0, 1])
    for name, values, more in (
        ("shorter", [1, 0], {}),
        ("elsewhere", [1, 1, 1], {"data": "other"}),
        ("another split", [1, 1, 1], {"targets": [2, 1, 0]}),
    ):
        assert pairs_of(one, kept(tmp_path / name, values, **more), "task.accuracy") is None, name
    assert pairs_of(one, tmp_path / "nowhere", "task.accuracy") is None
    other = kept(tmp_path / "other", [1, 1, 1])
    assert pairs_of(one, other, "task.accuracy") == [(1.0, 1.0), (0.0, 1.0), (1.0, 1.0)]
    # What has no value for some example, and what nobody kept.
    assert pairs_of(one, other, "task.loss") is None
    assert pairs_of(one, other, "task.macro_f1") is None


@pytest.mark.parametrize(("ups", "apart"), [(4, False), (9, True)])
def test_single_seeds_on_the_same_examples_are_told_apart_by_example(ups, apart, tmp_path):
    """Their intervals overlap by far in both cases."""
    trials = []
    for number, values in enumerate(differing(200, ups, 0)):
        place = kept(tmp_path / str(number), values)
        half = 0.05
        value = sum(values) / 200
        row = Measurement(
            name="task.accuracy", value=value, interval=(value - half, value + half), better=Better.HIGHER
        )
        trial = Trial(
            folder=place, name=str(number), state="done", seed=0, choices={"a": "x"}, leaves={"lr": str(number)}
        )
        vars(trial)["measurements"] = {"task.accuracy": [row]}
        trials.append(trial)
    found = groups(trials, ["lr"])
    folded = [fold(group, "task.accuracy") for group in found]
    assert told_apart(*folded, None) is apart
    words = standing(found, folded, None, Style()).words
    assert ("best: lr=0" in words) is apart
    assert ("each held against itself" in words) is not apart
