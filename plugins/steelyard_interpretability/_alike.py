# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
"""What finished runs say of each other's explanations: do two configs differ by more than two seeds of one do?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from steelyard.measurement import Artefact, Better, Measurement, Status, Table
from steelyard.statistics import interval_round_mean
from steelyard.stored import StoredRun
from steelyard.trials import Trial, differing, read_trial
from steelyard.trials.folding import groups
from steelyard_interpretability._alike_picture import picture
from steelyard_interpretability._kept_units import Parts, read

SPLIT = "val"
MEANINGS = {
    "seed_agreement": "how alike the explanations of two seeds of one config rank the parts of an input",
    "agreement": "how alike the explanations of two configs rank the parts of an input; 1 is the same order",
    "below_floor": "how much less the explanations of two configs agree than those of two seeds of one config do; "
    "at 0 the difference is the luck of training",
}
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The runs of one config that explained the same examples by one method.

    Attributes:
        label: What sets it apart.
        seeds: Of its runs; unique.
        places: Of its runs among all.
    """

    label: str
    seeds: tuple[int, ...]
    places: tuple[int, ...]


def compared(runs: Sequence[StoredRun]) -> Iterator[Measurement | Artefact]:
    """Method by method: agreement between seeds, then between configs, then how far the one lies below the other."""
    found = {run.folder: parts for run in runs if (parts := read(run)) is not None}
    if len(found) < 2:
        return
    first = next(iter(found.values()))
    paired = {folder: parts for folder, parts in found.items() if parts.pairs_with(first)}
    trials = [read_trial(folder, name=folder.name) for folder in paired]
    rows: list[list[str | float | None]] = []
    for method in dict.fromkeys(name for parts in paired.values() for name in parts.worth):
        some = [trial for trial in trials if method in paired[trial.folder].worth]
        kept = [paired[trial.folder] for trial in some]
        if len(kept) > 1:
            yield from _method(method, _configs(some), alike(kept, method), rows)
    if rows:
        yield Table(
            name="explanations",
            title="Explanations of the same examples by the runs: agreement beside what seeds alone do",
            columns=["method", "runs", "examples", "agreement", "agreement of seeds", "below it by", "from", "to"],
            rows=rows,
            split=SPLIT,
        )
    if len(paired) > 1:
        drawn = picture(
            {
                f"{config.label}, seed {seed}": paired[trials[place].folder]
                for config in _configs(trials)
                for seed, place in zip(config.seeds, config.places, strict=True)
            }
        )
        if drawn is not None:
            yield drawn
    apart = [folder.name for folder in found if folder not in paired]
    if apart:
        yield Table(
            name="apart",
            title="Runs that explained other examples, and are not compared",
            columns=["run"],
            rows=[[name] for name in apart],
        )


def alike(runs: Sequence[Parts], method: str) -> Floats:
    """Spearman's rank correlation of every two runs on every example (R, R, N).

    NaN where they do not explain the same decision, or where one of them ranks nothing.
    """
    tables = [run.worth[method] for run in runs]
    width = max(table.shape[1] for table in tables)
    worth = np.stack([np.pad(table, ((0, 0), (0, width - table.shape[1])), constant_values=np.nan) for table in tables])
    rankdata: Any = stats.rankdata
    ranks: Floats = rankdata(worth, axis=2, nan_policy="omit")
    centred = np.nan_to_num(ranks - np.nanmean(ranks, axis=2, keepdims=True))
    size = np.sqrt((centred**2).sum(axis=2))
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.einsum("ink,jnk->ijn", centred, centred) / (size[:, None] * size[None, :])
    decisions = np.stack([run.decisions for run in runs])
    return np.where(decisions[:, None] == decisions[None, :], found, np.nan)


def _configs(trials: Sequence[Trial]) -> list[Config]:
    found: list[Config] = []
    numbers = {trial.folder: place for place, trial in enumerate(trials)}
    for group in groups(trials, differing(trials)):
        # The same seed again is the same run.
        once: dict[int, int] = {}
        for trial in group.trials:
            once.setdefault(0 if trial.seed is None else trial.seed, numbers[trial.folder])
        found.append(Config(label=group.label, seeds=tuple(once), places=tuple(once.values())))
    return found


def _method(
    method: str, configs: Sequence[Config], agreement: Floats, rows: list[list[str | float | None]]
) -> Iterator[Measurement]:
    floors: dict[str, Floats] = {}
    for config in configs:
        pairs = [*combinations(config.places, 2)]
        if pairs:
            floors[config.label] = _mean(agreement, pairs)
            at: dict[str, str | float] = {"method": method, "config": config.label}
            note = f"mean over {len(pairs)} pairs of seeds {', '.join(map(str, config.seeds))}"
            yield _row("seed_agreement", floors[config.label], at, note)
            rows.append([method, f"{config.label}, seeds", *_rounded(floors[config.label]), None, None, None, None])
    for one, other in combinations(configs, 2):
        every = [*product(zip(one.seeds, one.places, strict=True), zip(other.seeds, other.places, strict=True))]
        # Runs of one seed begin with the same weights, as those that the floor is made of do not.
        apart = [(first[1], second[1]) for first, second in every if first[0] != second[0]]
        pairs = apart or [(first[1], second[1]) for first, second in every]
        between = _mean(agreement, pairs)
        at = {"method": method, "pair": f"{one.label} against {other.label}"}
        seeds = "with other seeds" if apart else "with the same seed, and so the same first weights"
        yield _row("agreement", between, at, f"mean over {len(pairs)} pairs of runs {seeds}")
        known = [floors[config.label] for config in (one, other) if config.label in floors]
        if not known:
            yield Measurement(
                name="below_floor",
                status=Status.SKIPPED,
                at=at,
                split=SPLIT,
                note="no config has two seeds, so nobody knows what luck alone does: -m seed=0,1,2 tells",
                meaning=MEANINGS["below_floor"],
            )
            rows.append([method, at["pair"], *_rounded(between), None, None, None, None])
            continue
        floor = np.mean(known, axis=0)
        below = _row(
            "below_floor", floor - between, at, "paired by example; these runs, and no others", Better.LOWER, most=2
        )
        yield below
        ends = below.interval or (None, None)
        told = [None if end is None else round(end, 3) for end in ends]
        # Of those examples that have both, so that the line subtracts.
        both = np.where(np.isnan(floor - between), np.nan, [between, floor, floor - between])
        rows.append([method, at["pair"], *_rounded(both[0]), *(_rounded(one)[1] for one in both[1:]), *told])


def _mean(agreement: Floats, pairs: Sequence[tuple[int, int]]) -> Floats:
    """Of each example over those pairs that explain the same decision (N,), NaN where none does."""
    values = np.stack([agreement[pair] for pair in pairs])
    known = ~np.isnan(values)
    counts = known.sum(axis=0)
    return np.where(counts > 0, np.where(known, values, 0.0).sum(axis=0) / np.maximum(counts, 1), np.nan)


def _rounded(values: Floats) -> tuple[int, float | None]:
    """Examples with a value, and their mean."""
    known = values[~np.isnan(values)]
    return len(known), round(float(known.mean()), 3) if len(known) else None


def _row(
    name: str, values: Floats, at: dict[str, str | float], note: str, better: Better | None = None, *, most: float = 1
) -> Measurement:
    known = values[~np.isnan(values)]
    if not len(known):
        reason = f"no example has the same decision in both and parts that differ; {note}"
        return Measurement(name=name, status=Status.SKIPPED, at=at, split=SPLIT, note=reason, meaning=MEANINGS[name])
    mean, ends = interval_round_mean(known, low=-most, high=most)
    of = "" if len(known) == len(values) else f"; {len(known)} of {len(values)} examples have the same decision"
    return Measurement(
        name=name,
        value=mean,
        better=better,
        interval=ends,
        count=len(known),
        at=at,
        split=SPLIT,
        note=f"Spearman's rank correlation over parts; {note}; the interval is over examples{of}",
        meaning=MEANINGS[name],
    )
