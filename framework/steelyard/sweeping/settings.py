"""The settings of a sweep, under `sweep` of the config."""

from dataclasses import dataclass
from typing import Annotated, Literal

from steelyard.option import Option

ELSEWHERE = {"joblib": "joblib", "submitit_local": "submitit", "submitit_slurm": "submitit", "ray": "ray"}
"""Launchers that let others run the trials -> the library that each needs, which is also the extra that brings it."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """How the trials of a sweep are run; no part of any trial's config or spec.

    Attributes:
        workers: Trials side by side; None for one per core.
        max_failures: After so many failed trials no further one starts; None to run all.
        trial_seconds: The time limit of one trial; None for none.
        rerun: What `resume` runs again.
        probe: `plan` trains a few steps of each kind of trial, and tells time and disk.
    """

    workers: Annotated[int | None, Option("trials side by side", ge=1)] = None
    max_failures: Annotated[int | None, Option("failed trials after which no further one starts", ge=1)] = None
    trial_seconds: Annotated[float | None, Option("time limit of one trial", unit="seconds", gt=0)] = None
    rerun: Annotated[Literal["failed", "changed", "all"], Option("what resume runs again")] = "failed"
    probe: Annotated[bool, Option("plan trains a few steps of each kind of trial, and tells time and disk")] = False


@dataclass(frozen=True, kw_only=True)
class Searching:
    """`hydra/sweeper=optuna`: each trial is chosen by the results of those before it.

    Attributes:
        n_trials: How many, those that fail, are pruned or equal an earlier one among them.
        maximize: Names of measurements of which more is better; of a curve the worst point counts.
        minimize: Names of measurements of which less is better.
        sampler: Tree-structured Parzen estimators (Bergstra et al., NeurIPS 2011), NSGA-II (Deb et al., 2002) or
            chance.
        seed: Of the sampler; None for another one each time. With one worker the same seed gives the same trials.
        prune: A metric that the task logs in validation, by which running trials that are worse than the median of the
            others at the same step are given up; it is better in the direction of the only objective.
        prune_after: Trials that are waited for before the first one is given up.
        storage: URL of Optuna's storage; None for a file in the sweep folder.
        study_name: In the storage; None for the name of the sweep folder.
    """

    n_trials: Annotated[int, Option("trials", ge=1)] = 20
    maximize: Annotated[tuple[str, ...], Option("measurements of which more is better")] = ()
    minimize: Annotated[tuple[str, ...], Option("measurements of which less is better")] = ()
    sampler: Annotated[Literal["tpe", "nsga2", "random"], Option("how the next trial is chosen")] = "tpe"
    seed: Annotated[int | None, Option("of the sampler")] = 0
    prune: Annotated[str | None, Option("metric logged in validation by which hopeless trials are given up")] = None
    prune_after: Annotated[int, Option("trials before the first is given up", ge=1)] = 5
    storage: Annotated[str | None, Option("URL of Optuna's storage; null: a file in the sweep folder")] = None
    study_name: Annotated[str | None, Option("in the storage; null: the sweep folder's name")] = None

    @property
    def objectives(self) -> tuple[str, ...]:
        """All of them, those to maximise first."""
        return (*self.maximize, *self.minimize)
