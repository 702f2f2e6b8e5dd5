"""Carrying out what was composed: one job, or the trials of a sweep one after the other."""

import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from steelyard import folder, spec
from steelyard.cli import _console
from steelyard.cli._main import Exit, explain
from steelyard.composing import Composed, Trial, expand, known_to_hydra
from steelyard.problem import Refused
from steelyard.scorecard import Scorecard
from steelyard.cli._rows import TrialRow

OUTPUTS = Path("outputs")
STOPPING = (Exit.INTERRUPTED, Exit.TERMINATED)
"""What ends a whole sweep, and not one trial of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is done with a config.

    Attributes:
        verb: run, weigh or plan.
        checkpoint: What `weigh` weighs.
    """

    verb: str
    checkpoint: Path | None = None


def single(job: Job, composed: Composed) -> int:
    """One job; its scorecard or plan goes to the terminal."""
    if job.verb == "plan":
        return _plan(composed)
    made: list[Path] = []
    try:
        scorecard = _weighed(job, composed, outputs=OUTPUTS, name=None, made=made)
    except BaseException as error:
        return explain(error, folder=str(made[0]) if made else None)
    _console.print_scorecard(scorecard)
    _console.say(f"{made[0]}/report.html")
    return scorecard.exit_code


def sweep(job: Job, overrides: Sequence[str], folders: Sequence[Path]) -> int:
    """Every trial; one that fails stops no other, and equal specs run once."""
    if job.verb == "plan":
        with tempfile.TemporaryDirectory() as scratch:
            return _plan_all(expand(*overrides, place=Path(scratch), folders=folders))
    place = folder.create(OUTPUTS, f"{datetime.now():%Y-%m-%d_%H-%M-%S}_sweep")
    try:
        trials = expand(*overrides, place=place, folders=folders)
    except BaseException:
        folder.discard(place)
        raise
    rows: list[TrialRow] = []
    first: dict[str, TrialRow] = {}
    for trial in trials:
        row = _trial(job, trial, place, len(trials), first)
        rows.append(row)
        if row.exit_code in STOPPING:
            break
    from steelyard import sweep as sweeps

    sweeps.finish(place, rows)
    return max(row.exit_code for row in rows)


def _trial(job: Job, trial: Trial, place: Path, count: int, first: dict[str, TrialRow]) -> TrialRow:
    _console.say(f"trial {trial.number + 1} of {count}: {' '.join(trial.overrides)}")
    if trial.composed is None:
        assert trial.refused is not None
        return _row(trial, explain(trial.refused), message=_line(trial.refused))
    identity = spec.spec_hash(trial.composed.config)
    if identity in first:
        same = first[identity]
        _console.say(f"the same spec as trial {same.number + 1}, which is not run again")
        return _row(trial, same.exit_code, place=same.folder, message=same.message)
    started = time.monotonic()
    made: list[Path] = []
    try:
        scorecard = _weighed(job, trial.composed, outputs=place, name=str(trial.number), made=made)
        code, message = scorecard.exit_code, ""
    except BaseException as error:
        code, message = explain(error, folder=str(made[0]) if made else None), _line(error)
    found = made[0] if made else place / str(trial.number)
    row = _row(trial, code, place=found if found.exists() else None, message=message)
    first[identity] = row
    _console.say(f"trial {trial.number + 1} ended with {code} after {time.monotonic() - started:.0f} s")
    return row


def _weighed(job: Job, composed: Composed, *, outputs: Path, name: str | None, made: list[Path]) -> Scorecard:
    from steelyard import experiment

    with known_to_hydra(composed):
        if job.checkpoint is not None:
            return experiment.weigh(
                composed.config,
                ckpt=job.checkpoint,
                choices=composed.choices,
                overrides=composed.overrides,
                notes=composed.notes,
                outputs=outputs,
                folder_name=name,
                announce=made.append,
            )
        return experiment.run(
            composed.config,
            choices=composed.choices,
            overrides=composed.overrides,
            notes=composed.notes,
            outputs=outputs,
            folder_name=name,
            announce=made.append,
        )


def _plan(composed: Composed) -> int:
    from steelyard import planning

    with known_to_hydra(composed):
        found = planning.plan(
            composed.config, choices=composed.choices, overrides=composed.overrides, notes=composed.notes
        )
    _console.write(found.text())
    return Exit.DONE


def _plan_all(trials: Sequence[Trial]) -> int:
    codes: list[int] = []
    seen: dict[str, int] = {}
    for trial in trials:
        _console.write(f"\ntrial {trial.number + 1} of {len(trials)}: {' '.join(trial.overrides)}")
        if trial.composed is None:
            assert trial.refused is not None
            codes.append(explain(trial.refused))
            continue
        identity = spec.spec_hash(trial.composed.config)
        if identity in seen:
            _console.write(f"the same spec as trial {seen[identity] + 1}: it would not run again")
            continue
        seen[identity] = trial.number
        try:
            codes.append(_plan(trial.composed))
        except Refused as refused:
            codes.append(explain(refused))
    _console.write(f"\n{len(seen)} distinct of {len(trials)} trials")
    return max(codes, default=Exit.DONE)


def _row(trial: Trial, code: int, *, place: Path | None = None, message: str = "") -> TrialRow:
    return TrialRow(
        number=trial.number, overrides=trial.overrides, folder=place, exit_code=int(code), message=message
    )


def _line(error: BaseException) -> str:
    with suppress(IndexError):
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return type(error).__name__
