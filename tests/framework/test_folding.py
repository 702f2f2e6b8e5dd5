"""Seeds folded, against the statistics module and SciPy."""

import math
import random
import statistics
from dataclasses import replace
from pathlib import Path

import pytest
from scipy import stats

import report_samples as samples
from steelyard.measurement import Measurement, Status
from steelyard.scorecard import Section
from steelyard.trials import Trial, differing
from steelyard.trials.folding import Folded, fold, groups, noise, student, told_apart


def trial(number, *, seed=0, choices=None, leaves=None, **values):
    measurements = tuple(
        value if isinstance(value, Measurement) else Measurement(name=f"a.b.{name}", value=value)
        for name, value in values.items()
    )
    section = Section(key="a.b", status=Status.MEASURED, measurements=measurements)
    card = replace(samples.scorecard(), sections=(section,), seed=seed)
    return Trial(
        folder=Path(str(number)),
        name=str(number),
        state="done",
        exit_code=0,
        seed=seed,
        choices=choices or {},
        leaves=leaves or {},
        scorecard=card,
    )


def grouped(trials):
    return groups(trials, differing(trials))


def test_mean_deviation_and_ends_are_those_of_the_statistics_module():
    draw = random.Random(0)
    values = [draw.gauss(3, 2) for _ in range(7)]
    (group,) = grouped([trial(seed, seed=seed, x=value) for seed, value in enumerate(values)])
    found = fold(group, "a.b.x")
    assert found.mean == statistics.mean(values)
    assert found.deviation == statistics.stdev(values)
    assert found.ends == (min(values), max(values))


def test_equal_seeds_have_no_spread_at_all():
    (group,) = grouped([trial(seed, seed=seed, x=0.014) for seed in range(5)])
    assert (fold(group, "a.b.x").mean, fold(group, "a.b.x").deviation) == (0.014, 0.0)


def test_noise_is_pooled_over_groups():
    draw = random.Random(1)
    values = {lr: [draw.gauss(lr, 1) for _ in range(3)] for lr in (1, 2, 3)}
    trials = [
        trial(f"{lr}{seed}", seed=seed, leaves={"lr": str(lr)}, x=x)
        for lr in values
        for seed, x in enumerate(values[lr])
    ]
    found = noise([fold(group, "a.b.x") for group in grouped(trials)])
    assert found.freedom == 6
    pooled = statistics.mean(statistics.variance(row) for row in values.values())
    assert found.deviation == pytest.approx(math.sqrt(pooled))
    expected = stats.t.ppf(0.975, 6) * found.deviation * math.sqrt(2 / 3)
    assert found.floor(3, 3) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("freedom", [1, 2, 3, 5, 10, 11, 15, 30, 100, 1000])
def test_student_is_student(freedom):
    assert student(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-3)


def test_what_seeds_alone_could_do_is_not_told_apart():
    def pair(gap):
        trials = [trial(seed, seed=seed, leaves={"lr": "1"}, x=seed / 10) for seed in range(3)]
        trials += [trial(10 + seed, seed=seed, leaves={"lr": "2"}, x=gap + seed / 10) for seed in range(3)]
        first, second = (fold(group, "a.b.x") for group in grouped(trials))
        return told_apart(first, second, noise([first, second]))

    floor = student(4) * 0.1 * math.sqrt(2 / 3)
    assert pair(floor * 0.99) is False
    assert pair(floor * 1.01) is True


def test_the_false_alarm_rate_is_five_percent():
    draw = random.Random(2)
    alarms = 0
    for _ in range(1500):
        first, second = (
            Folded(first=Measurement(name="x", value=0.0), values=tuple(draw.gauss(0, 1) for _ in range(3)))
            for _ in "ab"
        )
        alarms += told_apart(first, second, noise([first, second]))
    low, high = stats.binom.interval(0.999, 1500, 0.05)
    assert low <= alarms <= high


def test_single_seeds_are_told_apart_by_their_intervals():
    def one(value, half):
        return Measurement(name="a.b.x", value=value, interval=None if half is None else (value - half, value + half))

    def pair(first, second):
        trials = [trial(0, leaves={"lr": "1"}, x=first), trial(1, leaves={"lr": "2"}, x=second)]
        return told_apart(*(fold(group, "a.b.x") for group in grouped(trials)), None)

    assert pair(one(0.9, 0.01), one(0.8, 0.01)) is True
    assert pair(one(0.9, 0.06), one(0.8, 0.06)) is False
    assert pair(one(0.9, None), one(0.8, 0.01)) is None
    assert pair(one(0.9, None), one(0.9, None)) is False


def test_a_seed_without_a_value_is_said_and_not_averaged():
    skipped = Measurement(name="a.b.x", status=Status.SKIPPED, note="too few")
    invalid = Measurement(name="a.b.x", value=99.0, status=Status.INVALID, note="a control failed")
    (group,) = grouped([trial(0, x=1.0), trial(1, seed=1, x=skipped), trial(2, seed=2, x=invalid), trial(3, seed=3)])
    found = fold(group, "a.b.x")
    assert found.values == (1.0,)
    assert found.missing == "3 of 4 skipped: too few; invalid: a control failed; not there"
    assert fold(group, "a.b.nothing") is None


def test_labels_say_what_sets_groups_apart():
    def labels(*settings):
        trials = [trial(i, choices=choices, leaves=leaves) for i, (choices, leaves) in enumerate(settings)]
        return [group.label for group in grouped(trials)]

    assert labels(({"privacy": "membership"}, {}), ({"privacy": "dp,membership"}, {})) == ["plain", "privacy=dp"]
    assert labels(({"privacy": "none"}, {}), ({"privacy": "dp"}, {})) == ["plain", "privacy=dp"]
    assert labels(({"model": "mlp"}, {}), ({"model": "cnn"}, {})) == ["model=mlp", "model=cnn"]
    assert labels(
        ({"privacy": "none"}, {"seed": "0"}),
        ({"privacy": "dp"}, {"privacy.dp.target": "3", "privacy.dp.delta": "1"}),
        ({"privacy": "dp"}, {"privacy.dp.target": "8", "privacy.dp.delta": "1"}),
    ) == ["plain", "privacy=dp, target=3", "privacy=dp, target=8"]


def test_a_leaf_that_follows_from_a_choice_is_not_repeated():
    trials = [
        trial(0, choices={"model": "mlp"}, leaves={"model.target": "a", "lr": "1"}),
        trial(1, choices={"model": "cnn"}, leaves={"model.target": "b", "lr": "1"}),
        trial(2, choices={"model": "cnn"}, leaves={"model.target": "b", "lr": "2"}),
    ]
    assert differing(trials) == ("model", "lr")


def test_a_trial_that_never_chose_is_in_no_group():
    refused = Trial(folder=Path("9"), name="9", state="refused", exit_code=2)
    assert [len(group.trials) for group in grouped([trial(0, x=1.0), refused])] == [1]
