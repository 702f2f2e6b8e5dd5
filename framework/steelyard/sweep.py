"""Sweeps: many runs in one table and on one page, read from their folders, also later and on another machine."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from steelyard.folder import write_atomically
from steelyard.report.page import REPORT, render
from steelyard.report.sweep_page import sweep_page
from steelyard.report.sweep_terminal import print_sweep
from steelyard.stored import StoredRun
from steelyard.trials import Trial, differing, read_trial, run_folders
from steelyard.trials.comparing import Said, said
from steelyard.trials.folding import Group, groups
from steelyard.trials.table import as_csv

__all__ = ["SweepSummary", "compare", "finish", "print_sweep"]


@dataclass(frozen=True, kw_only=True)
class SweepSummary:
    """What came out of several runs.

    Attributes:
        folder: Where table and page lie.
        trials: One per run, failed ones too.
        keys: What sets the trials apart, the seed aside.
        groups: Trials folded over their seeds.
        said: What plugins say over all runs.
        table: The CSV file.
        page: The HTML file.
    """

    folder: Path
    trials: tuple[Trial, ...]
    keys: tuple[str, ...]
    groups: tuple[Group, ...]
    said: tuple[Said, ...]
    table: Path
    page: Path

    @property
    def exit_code(self) -> int:
        """The highest of the trials; one that ended without a word counts as failed."""
        return max((3 if trial.exit_code is None else trial.exit_code for trial in self.trials), default=0)


def finish(folder: Path) -> SweepSummary:
    """Writes sweep.csv and sweep.html of a sweep folder, and the reports of trials that have none.

    Raises:
        FileNotFoundError: If there is no run folder below `folder`.
        OSError: If a file cannot be written.
    """
    places = list(run_folders(folder))
    for place in places:
        if not (place / REPORT).exists():
            _report(place)
    return _summarise(places, folder, stem="sweep")


def compare(folders: Sequence[Path], *, to: Path = Path()) -> SweepSummary:
    """Writes compare.csv and compare.html over runs and sweeps.

    Args:
        folders: Run folders, sweep folders or folders of these; each run counts once.
        to: Where to write; made if need be.

    Raises:
        FileNotFoundError: If there is no run folder below one of `folders`.
        OSError: If a file cannot be written.
    """
    places: dict[Path, Path] = {}
    for folder in folders:
        found = list(run_folders(folder))
        if not found:
            raise FileNotFoundError(f"no run folder in {folder}")
        places.update({place.resolve(): place for place in found})
    to.mkdir(parents=True, exist_ok=True)
    return _summarise(list(places), to, stem="compare")


def _summarise(places: Sequence[Path], folder: Path, *, stem: str) -> SweepSummary:
    if not places:
        raise FileNotFoundError(f"no run folder in {folder}")
    trials = tuple(read_trial(place, name=_name(place, folder, places)) for place in places)
    keys = differing(trials)
    summary = SweepSummary(
        folder=folder,
        trials=trials,
        keys=keys,
        groups=groups(trials, keys),
        said=said([StoredRun(trial.folder) for trial in trials if trial.scorecard is not None]),
        table=folder / f"{stem}.csv",
        page=folder / f"{stem}.html",
    )
    write_atomically(summary.table, as_csv(trials, keys))
    write_atomically(summary.page, sweep_page(summary))
    return summary


def _name(place: Path, folder: Path, places: Sequence[Path]) -> str:
    """The trial's place below the sweep; below what all have in common where they lie elsewhere."""
    place = place.resolve()
    if place.is_relative_to(folder.resolve()):
        return place.relative_to(folder.resolve()).as_posix()
    common = os.path.commonpath([other.resolve().parent for other in places])
    return place.relative_to(common).as_posix()


def _report(place: Path) -> None:
    """Renders a run that ended before its report; one whose files are broken is named by the table instead."""
    try:
        render(place)
    except (ValueError, KeyError, TypeError):
        return
