"""The settings of a sweep, under `sweep` of the config."""

from dataclasses import dataclass
from typing import Annotated, Literal

from steelyard.option import Option


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
