"""Carrying out what was composed: one job, or the trials of a sweep one after the other."""

import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from omegaconf import OmegaConf

from steelyard import folder, spec
from steelyard.cli import _console
from steelyard.cli._main import Exit, explain
from steelyard.composing import Composed, Trial, expand, known_to_hydra
from steelyard.problem import Refused
from steelyard.scorecard import Scorecard

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
    codes: dict[str, int] = {}
    for trial in trials:
        identity = spec.spec_hash(trial.composed.config) if trial.composed else str(trial.number)
        _console.say(f"trial {trial.number + 1} of {len(trials)}: {' '.join(trial.overrides)}")
        if identity in codes:
            _console.say("an earlier trial has the same spec: it is not run again")
            continue
        codes[identity] = _trial(job, trial, place)
        if codes[identity] in STOPPING:
            break
    from steelyard import sweep as sweeps

    summary = sweeps.finish(place)
    sweeps.print_sweep(summary)
    return max(codes.values())


def _trial(job: Job, trial: Trial, place: Path) -> int:
    made: list[Path] = []
    try:
        if trial.composed is None:
            assert trial.refused is not None
            raise trial.refused
        return _weighed(job, trial.composed, outputs=place, name=str(trial.number), made=made).exit_code
    except BaseException as error:
        if not made and not (place / str(trial.number)).exists():
            made.append(_record(trial, error, place))
        return explain(error, folder=str(made[0]) if made else None)


def _record(trial: Trial, error: BaseException, place: Path) -> Path:
    """A trial that never came to a run folder gets one, so that the sweep's table has its row."""
    made = folder.create(place, str(trial.number))
    state, code = (folder.State.REFUSED, Exit.REFUSED) if isinstance(error, Refused) else _ended(error)
    with folder.opened(made) as journal:
        text = OmegaConf.to_yaml(spec.masked(spec.plain(trial.config)))
        folder.write_atomically(made / "config.yaml", text.encode())
        folder.write_atomically(made / "traceback.txt", "".join(traceback.format_exception(error)).encode())
        journal.end(
            state, exit_code=code, message=f"{type(error).__name__}: {error}" if code == Exit.FAILED else str(error)
        )
    return made


def _ended(error: BaseException) -> tuple[folder.State, int]:
    if isinstance(error, KeyboardInterrupt):
        return folder.State.INTERRUPTED, Exit.INTERRUPTED
    if isinstance(error, Exception):
        return folder.State.FAILED, Exit.FAILED
    return folder.State.TERMINATED, Exit.TERMINATED


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
