"""What finished runs say of each other: spread over seeds, churn, and differences between configs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from steelyard.measurement import Artefact, Better, Measurement, Picture, Status, Table
from steelyard.statistics import clopper_pearson
from steelyard.stored import StoredRun
from steelyard.trials import Trial, differing, read_trial
from steelyard.trials.folding import groups
from steelyard.trials.paired import mcnemar
from steelyard_stability._answers import Answers, disagreement, read, restless
from steelyard_stability._pairs import Marks, difference, spread
from steelyard_stability.seeds import ENOUGH

SPLIT = "test"
MOST = 24
"""Runs in the picture of the churn matrix; more are not to be read."""
MEANINGS = {
    "accuracy": "how right the answers are, as the mean over training runs that differ in their seed",
    "accuracy_deviation": "standard deviation of that over the seeds: what luck alone does",
    "accuracy_lowest": "how right the answers of the unluckiest seed are",
    "churn": "share of the test examples on which two runs that differ in their seed give different answers",
    "difference": "how much righter the first config is than the second, example by example",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The runs of one config that answered the same questions.

    Attributes:
        label: What sets it apart.
        seeds: Of the runs, rising; unique.
        answers: One for each.
    """

    label: str
    seeds: tuple[int, ...]
    answers: tuple[Answers, ...]

    @property
    def marks(self) -> Marks:
        """(seeds, examples)."""
        return np.stack([found.marks for found in self.answers])


def compared(runs: Sequence[StoredRun]) -> Iterator[Measurement | Artefact]:
    """Everything, config by config and then pair by pair."""
    configs, apart = _configs(runs)
    for config in configs:
        if len(config.seeds) > 1:
            yield from _spread(config)
        else:
            yield Measurement(
                name="churn",
                status=Status.SKIPPED,
                at={"config": config.label},
                note=f"there is one run, with seed {min(config.seeds)}: -m seed=0,1,2,3,4 gives siblings",
                meaning=MEANINGS["churn"],
            )
    if len(configs) > 1:
        yield from _differences(configs)
    together = [(f"{config.label}, seed {seed}", found) for config in configs for seed, found in _each(config)]
    if len(together) > 1:
        yield from _matrix(together[:MOST], left_out=len(together) - MOST)
    if apart:
        yield Table(
            name="apart",
            title="Runs that were asked other questions, and are not compared",
            columns=["run"],
            rows=[[name] for name in apart],
        )


def _configs(runs: Sequence[StoredRun]) -> tuple[list[Config], list[str]]:
    """The configs whose runs can be paired with the first run's, and the names of the others' runs."""
    kept_by = {run.folder: read(run) for run in runs}
    answers = {folder: kept for folder, kept in kept_by.items() if kept is not None}
    trials = [read_trial(folder, name=folder.name) for folder in answers]
    if not trials:
        return [], []
    first = answers[trials[0].folder]
    apart = [trial.name for trial in trials if not answers[trial.folder].pairs_with(first)]
    kept = [trial for trial in trials if answers[trial.folder].pairs_with(first)]
    found: list[Config] = []
    for group in groups(kept, differing(kept)):
        # The same seed again is the same run.
        once: dict[int, Trial] = {}
        for trial in group.trials:
            once.setdefault(0 if trial.seed is None else trial.seed, trial)
        seeds = tuple(sorted(once))
        found.append(
            Config(label=group.label, seeds=seeds, answers=tuple(answers[once[seed].folder] for seed in seeds))
        )
    return found, apart


def _each(config: Config) -> list[tuple[int, Answers]]:
    return [*zip(config.seeds, config.answers, strict=True)]


def _spread(config: Config) -> Iterator[Measurement]:
    marks, at, count = config.marks, {"config": config.label}, len(config.seeds)
    few = "" if count >= ENOUGH else f"; fewer than {ENOUGH} seeds say little of others"
    told = f"seeds {', '.join(map(str, config.seeds))}{few}"
    value, interval = spread(marks)
    means = marks.mean(axis=1)
    yield Measurement(
        name="accuracy",
        value=value,
        interval=(max(0.0, interval[0]), min(1.0, interval[1])),
        better=Better.HIGHER,
        count=marks.shape[1],
        at=at,
        split=SPLIT,
        note=f"{told}; interval over seeds and examples",
        meaning=MEANINGS["accuracy"],
    )
    yield Measurement(
        name="accuracy_deviation",
        value=float(means.std(ddof=1)),
        better=Better.LOWER,
        count=count,
        at=at,
        split=SPLIT,
        note=told,
        meaning=MEANINGS["accuracy_deviation"],
    )
    yield Measurement(
        name="accuracy_lowest",
        value=float(means.min()),
        better=Better.HIGHER,
        count=marks.shape[1],
        at=at,
        split=SPLIT,
        note=f"seed {config.seeds[int(means.argmin())]} of {told}",
        meaning=MEANINGS["accuracy_lowest"],
    )
    yield _churn(config, told)


def _churn(config: Config, told: str) -> Measurement:
    shares, apart = restless(config.answers), disagreement(config.answers)
    value = float(shares.mean())
    pairs = [*combinations(range(len(config.seeds)), 2)]
    worst = max(pairs, key=lambda pair: float(apart[pair]))
    exact = bool(np.isin(config.marks, [0.0, 1.0]).all())
    tested = ""
    if exact:
        marks = config.marks
        chances = [
            mcnemar(int((marks[one] > marks[two]).sum()), int((marks[one] < marks[two]).sum())) for one, two in pairs
        ]
        differ = sum(chance < 0.05 / len(pairs) for chance in chances)
        tested = f"; {differ} of {len(pairs)} pairs differ in accuracy (McNemar's exact test at 5 % over all pairs)"
    return Measurement(
        name="churn",
        value=value,
        interval=_share_interval(value, len(shares)),
        better=Better.LOWER,
        count=len(shares),
        at={"config": config.label},
        split=SPLIT,
        note=f"mean over {len(pairs)} pairs of {told}; at most {apart[worst]:.3g}, between seeds "
        f"{config.seeds[worst[0]]} and {config.seeds[worst[1]]}{tested}; the interval is over the examples",
        meaning=MEANINGS["churn"],
    )


def _share_interval(value: float, count: int) -> tuple[float, float]:
    """Clopper and Pearson's for the next whole counts below and above: no mean of shares varies more than 0s and 1s."""
    total = value * count
    low = clopper_pearson(int(total + 1e-9), count)[0]
    return low, clopper_pearson(min(count, int(np.ceil(total - 1e-9))), count)[1]


def _differences(configs: Sequence[Config]) -> Iterator[Measurement | Artefact]:
    rows: list[list[str | float]] = []
    for one, other in combinations(configs, 2):
        common = [seed for seed in one.seeds if seed in other.seeds]
        # Seeds that only one side has would break the pairs.
        paired = len(common) > 1 and len(common) == min(len(one.seeds), len(other.seeds))
        first, second = (_only(config, common) if paired else config.marks for config in (one, other))
        found = difference(first, second, paired=paired)
        yield Measurement(
            name="difference",
            value=found.value,
            interval=found.interval,
            count=first.shape[1],
            at={"pair": f"{one.label} against {other.label}"},
            split=SPLIT,
            note=f"{found.verdict}: {found.how}",
            meaning=MEANINGS["difference"],
        )
        seeds = f"{len(first)} and {len(second)}"
        rows.append([one.label, other.label, seeds, found.value, *found.interval, found.verdict.value])
    yield Table(
        name="differences",
        title="Differences in accuracy, example by example",
        columns=["first", "second", "seeds", "first less second", "from", "to", "verdict"],
        rows=rows,
        split=SPLIT,
    )


def _only(config: Config, seeds: Sequence[int]) -> Marks:
    return np.stack([found.marks for seed, found in _each(config) if seed in seeds])


def _matrix(together: Sequence[tuple[str, Answers]], *, left_out: int) -> Iterator[Artefact]:
    from steelyard_stability._churn_picture import churn_matrix

    labels, apart = [name for name, _ in together], disagreement([found for _, found in together])
    more = f"; {left_out} more runs are left out" if left_out > 0 else ""
    yield Picture(
        name="churn_matrix",
        title=f"Share of the test examples on which two runs give different answers{more}",
        png=churn_matrix(apart, labels),
        alt=f"{len(labels)} runs against each other, from {_off(apart).min():.1%} to {_off(apart).max():.1%}",
        split=SPLIT,
    )
    yield Table(
        name="churn_matrix",
        title=f"Share of the test examples on which two runs give different answers{more}",
        columns=["run", *labels],
        rows=[[name, *(round(float(share), 4) for share in row)] for name, row in zip(labels, apart, strict=True)],
        split=SPLIT,
    )


def _off(apart: Marks) -> Marks:
    return apart[~np.eye(len(apart), dtype=bool)]
