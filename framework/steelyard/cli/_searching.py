"""Carrying out a search: trials that are chosen by the results of those before them."""

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from steelyard.cli import _console
from steelyard.composing import Search
from steelyard.stored import StoredRun
from steelyard.sweeping.supply import SCORECARD, Searched
from steelyard.sweeping.trial import Job

if TYPE_CHECKING:
    from steelyard.sweeping._study import Best

SHOWN = 5
"""Best trials that the terminal names."""


def carry_out(job: Job, search: Search, place: Path, explain: Callable[[BaseException, str | None], int]) -> int:
    """Runs the trials of a search and says which were best.

    Args:
        job: What to do with each.
        search: What to look for, and where.
        place: The sweep folder; what an earlier process has left there is taken up.
        explain: Says what went wrong, given the error and the run folder, and gives the exit code.

    Returns:
        The highest exit code of the trials, or that of the signal that ended the search.
    """
    from steelyard import sweep as sweeps
    from steelyard.report.terminal import terminal
    from steelyard.sweeping._study import Study
    from steelyard.sweeping.driver import Driver
    from steelyard.sweeping.view import View

    study = Study(search.settings, search.space, place)
    supply = Searched(search=search, study=study, place=place, say=_console.say)
    driver = Driver(
        job=replace(job, prune=search.settings.prune),
        place=place,
        settings=search.sweep,
        view=View(supply.labels, terminal(stderr=True)),
        explain=explain,
    )
    codes = driver.carry_out(supply, devices=supply.devices(), each=supply.processes())
    summary = sweeps.finish(place)
    sweeps.print_sweep(summary)
    for line in _best(study.best(), search, place):
        _console.say(line)
    if study.remaining:
        _console.say(f"trials that were not started: {study.remaining}; go on with: steelyard resume {place}")
    return max([summary.exit_code, *codes.values()])


def _best(best: "list[Best]", search: Search, place: Path) -> list[str]:
    named = search.settings.objectives
    shown = [one for one in best if (place / str(one.number) / SCORECARD).exists()]
    if not shown:
        return ["no trial measured every objective and met the requirements"]
    lines = [f"{len(shown)} trials are best in some objective" if len(shown) > 1 else "the best trial:"]
    for one in shown[:SHOWN]:
        values = ", ".join(f"{name}={value:.6g}" for name, value in zip(named, one.values, strict=True))
        overrides = StoredRun(place / str(one.number)).scorecard.overrides
        words = shlex.join(word for word in overrides if not word.startswith("sweep."))
        lines.append(f"  trial {one.number}: {values}: steelyard run {words}")
    return lines
