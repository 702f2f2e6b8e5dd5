"""Carrying out what was composed: one job, or the trials of a sweep."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from steelyard import folder, garbage, spec
from steelyard.cli import _console
from steelyard.cli._main import Exit, explain
from steelyard.composing import Composed, Search, Trial, expand, known_to_hydra, look_through
from steelyard.problem import refuse
from steelyard.scorecard import Scorecard
from steelyard.sweeping import record
from steelyard.sweeping.record import Record
from steelyard.sweeping.settings import ELSEWHERE
from steelyard.sweeping.trial import Job, carry_out, weighed

OUTPUTS = Path("outputs")
STOPPING = (Exit.INTERRUPTED, Exit.TERMINATED)
"""What ends a whole sweep, and not one trial of it."""


def single(job: Job, composed: Composed) -> int:
    """One job; its scorecard or plan goes to the terminal."""
    if job.verb == "plan":
        return _plan(composed)
    return shown(lambda announce: weighed(job, composed, outputs=OUTPUTS, name=None, announce=announce))


def shown(carry_out: Callable[[Callable[[Path], None]], Scorecard]) -> int:
    """One run; its scorecard goes to the terminal.

    Args:
        carry_out: Runs it; calls what it is given with the run folder as soon as there is one.
    """
    made: list[Path] = []
    try:
        scorecard = carry_out(made.append)
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
        found = look_through(*overrides, place=place, folders=folders)
    except BaseException:
        folder.discard(place)
        raise
    made = Record(
        verb=job.verb,
        words=spec.masked_overrides(overrides),
        folders=tuple(str(one.absolute()) for one in folders),
        checkpoint=str(job.checkpoint.absolute()) if job.checkpoint else None,
        specs={},
    )
    with record.held(place):
        return _run(job, found, place, made, before=made)


def resume_sweep(place: Path, settings: Sequence[str]) -> int:
    """Goes on with a sweep: trials that finished stay, all others run again.

    Args:
        place: The sweep folder.
        settings: Overrides of `sweep.*` for this time.
    """
    before = record.read(place)
    job = Job(verb=before.verb, checkpoint=Path(before.checkpoint) if before.checkpoint else None)
    with record.held(place):
        folders = [Path(one) for one in before.folders]
        found = look_through(*before.words, *settings, place=place, folders=folders)
        return _run(job, found, place, before, before=before)


def _run(job: Job, trials: Sequence[Trial] | Search, place: Path, made: Record, *, before: Record) -> int:
    if isinstance(trials, Search):
        from steelyard.cli import _searching

        made.write(place)
        return _searching.carry_out(job, trials, place, _explain)
    hashes = record.hashes(trials)
    replace(made, specs={str(number): value for number, value in hashes.items()}).write(place)
    distinct = _distinct(trials, hashes)
    settings = next((trial.composed.sweep for trial in trials if trial.composed), None)
    assert settings is not None
    left: list[Trial] = []
    for trial in distinct:
        own = place / str(trial.number)
        if record.is_finished(own, hashes[trial.number], before, rerun=settings.rerun):
            continue
        if record.is_running(own):
            raise refuse(f"trial {trial.number} is still at work", fix=f"steelyard status {place}  (and wait for it)")
        if not record.goes_on(own, hashes[trial.number], before):
            record.set_aside(own)
        left.append(trial)
    if len(left) < len(distinct):
        _console.say(f"{len(distinct) - len(left)} of {len(distinct)} trials are finished already")
    config = next(trial.composed.config for trial in trials if trial.composed)
    tracked = config.get("logger") is not None
    if tracked and left:
        from steelyard import tracking

        tracking.begin_sweep(config, place, words=" ".join([job.verb, "-m", *made.words]))
    codes = _carry_out(job, left, place)
    from steelyard import sweep as sweeps

    summary = sweeps.finish(place)
    if tracked:
        from steelyard import tracking

        tracking.end_sweep(config, place)
    sweeps.print_sweep(summary)
    missing = len(left) - sum(1 for number in codes if number >= 0)
    if missing or any(code in STOPPING for code in codes.values()):
        _console.say(f"trials that were not started: {missing}; go on with: steelyard resume {place}")
    return max([summary.exit_code, *codes.values()])


def _distinct(trials: Sequence[Trial], hashes: Mapping[int, str]) -> list[Trial]:
    """The first trial of each spec; refused ones stay, so that each has its row."""
    first: dict[str, int] = {}
    for trial in trials:
        first.setdefault(hashes[trial.number] or str(trial.number), trial.number)
    kept = set(first.values())
    for trial in trials:
        if trial.number not in kept:
            _console.say(f"trial {trial.number} has the same spec as trial {first[hashes[trial.number]]}: it runs once")
    return [trial for trial in trials if trial.number in kept]


def _carry_out(job: Job, trials: Sequence[Trial], place: Path) -> Mapping[int, int]:
    """Exit codes by trial number; negative numbers for what befell the sweep itself."""
    composed = next((trial.composed for trial in trials if trial.composed), None)
    launcher = composed and composed.hydra.runtime.choices.get("hydra/launcher")
    if composed is not None and launcher != "basic":
        from steelyard.report.terminal import terminal
        from steelyard.sweeping.driver import Driver
        from steelyard.sweeping.elsewhere import hands_of
        from steelyard.sweeping.view import View, labels

        view = View(labels({trial.number: trial.overrides for trial in trials}), terminal(stderr=True))
        hands = None
        if launcher in ELSEWHERE:
            options: Any = OmegaConf.to_container(composed.hydra.launcher, resolve=True)
            hands = partial(hands_of, launcher, options, place, composed.sweep)
        driver = Driver(job=job, place=place, settings=composed.sweep, view=view, explain=_explain, hands=hands)
        return driver.run(trials)
    codes: dict[int, int] = {}
    for trial in trials:
        _console.say(f"trial {trial.number}: {' '.join(trial.overrides)}")
        codes[trial.number] = carry_out(job, trial, place, announce=_nothing, explain=_explain)
        if codes[trial.number] in STOPPING:
            break
    return codes


def _explain(error: BaseException, place: str | None) -> int:
    return explain(error, folder=place)


def _nothing(place: Path) -> None:
    del place


def _plan(composed: Composed) -> int:
    with garbage.left_lying(), known_to_hydra(composed):
        from steelyard import planning

        found = planning.plan(
            composed.config,
            choices=composed.choices,
            overrides=composed.overrides,
            notes=composed.notes,
            settings=composed.planning,
        )
        texts = [found.text()]
        if composed.planning.largest_batch:
            from steelyard.advising.batches import largest_batch

            texts.append(largest_batch(composed.config, composed.planning))
        if composed.planning.advise:
            from steelyard.advising.advice import advise

            texts.append(f"\n{advise(composed.config, composed.planning).text()}")
    _console.write("\n".join(texts))
    return Exit.DONE


def _plan_all(trials: Sequence[Trial]) -> int:
    from steelyard.sweeping.planned import plan_sweep

    settings = next(trial.composed.sweep for trial in trials if trial.composed)
    found = plan_sweep(trials, record.hashes(trials), settings)
    _console.write(found.text())
    return max([Exit.DONE, *(explain(refused) for _, refused in sorted(found.refused.items()))])
