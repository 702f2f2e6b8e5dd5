"""One trial: weighed in whatever process calls this, with a run folder in every case."""

import contextlib
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from steelyard import folder, garbage, short_memory, spec
from steelyard.composing import Composed, Trial, known_to_hydra
from steelyard.problem import Refused
from steelyard.scorecard import Scorecard
from steelyard.stopping import Pruned
from steelyard.sweeping import code
from steelyard.sweeping.forked import Send

if TYPE_CHECKING:
    from pytorch_lightning import Callback

REFUSED, FAILED, INTERRUPTED, TERMINATED = 2, 3, 130, 143
OUTPUT = "output.txt"
"""What a trial in a process of its own wrote to the terminal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is done with a config.

    Attributes:
        verb: run, weigh or plan.
        checkpoint: What `weigh` weighs.
        prune: The metric by which a search gives up running trials.
    """

    verb: str
    checkpoint: Path | None = None
    prune: str | None = None


def weighed(
    job: Job,
    composed: Composed,
    *,
    outputs: Path,
    name: str | None,
    announce: Callable[[Path], None],
    watch: "Callback | None" = None,
) -> Scorecard:
    """Carries out one job; what it raises is what `experiment.run` raises."""
    with garbage.left_lying():
        from steelyard import experiment

    common: dict[str, Any] = {
        "choices": composed.choices,
        "overrides": composed.overrides,
        "notes": composed.notes,
        "outputs": outputs,
        "folder_name": name,
        "announce": announce,
    }
    if watch is not None:
        common["watch"] = watch
    with known_to_hydra(composed):
        if job.checkpoint is not None:
            return experiment.weigh(composed.config, ckpt=job.checkpoint, **common)
        return experiment.run(composed.config, **common)


def carry_out(
    job: Job,
    trial: Trial,
    place: Path,
    *,
    announce: Callable[[Path], None],
    explain: Callable[[BaseException, str | None], int],
    watch: "Callback | None" = None,
) -> int:
    """The trial's exit code; whatever happens, there is a run folder that says so.

    Args:
        job: What to do.
        trial: With which config.
        place: The sweep folder.
        announce: Called with the run folder as soon as it exists.
        explain: Says what went wrong, given the error and the run folder, and gives the exit code.
        watch: Follows the training.
    """
    made: list[Path] = []

    def found(run_folder: Path) -> None:
        made.append(run_folder)
        announce(run_folder)

    try:
        if trial.composed is None:
            assert trial.refused is not None
            raise trial.refused
        card = _go_on(trial, place, found, watch) or weighed(
            job, trial.composed, outputs=place, name=str(trial.number), announce=found, watch=watch
        )
        code.note(made[0] if made else place / str(trial.number))
        return card.exit_code
    except Pruned:
        return 0
    except BaseException as error:
        if not made and not (place / str(trial.number)).exists():
            made.append(record(trial, error, place))
        return explain(error, str(made[0]) if made else None)


def forked(
    job: Job, trial: Trial, place: Path, send: Send, *, explain: Callable[[BaseException, str | None], int]
) -> int:
    """The same in a process of its own: what it prints goes into its folder, and its progress to the sweep."""
    from steelyard.sweeping._progress import Progress

    output = place / f".{trial.number}.out"
    with output.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    # Whatever stood for them in the sweep's own process, a notebook's cell for instance, is not there for the trial.
    sys.stdout, sys.stderr = (
        open(number, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
        for number in (1, 2)
    )

    def announce(run_folder: Path) -> None:
        nonlocal output
        output = output.rename(run_folder / OUTPUT)

    try:
        return carry_out(job, trial, place, announce=announce, explain=explain, watch=Progress(send, job.prune))
    finally:
        _keep_or_drop(output, place / str(trial.number))


def record(trial: Trial, error: BaseException, place: Path) -> Path:
    """A trial that never came to a run folder gets one, so that the sweep's table has its row."""
    made = folder.create(place, str(trial.number))
    state, exit_code = (folder.State.REFUSED, REFUSED) if isinstance(error, Refused) else _ended(error)
    with folder.opened(made) as journal:
        text = OmegaConf.to_yaml(spec.masked(spec.plain(trial.config)))
        folder.write_atomically(made / "config.yaml", text.encode())
        message = short_memory.noted(error) if exit_code == FAILED else str(error)
        folder.write_atomically(made / "traceback.txt", "".join(traceback.format_exception(error)).encode())
        journal.end(state, exit_code=exit_code, message=message)
    return made


def _go_on(trial: Trial, place: Path, announce: Callable[[Path], None], watch: "Callback | None") -> Scorecard | None:
    """Goes on where the trial was stopped, if it kept a checkpoint."""
    mine = place / str(trial.number)
    if trial.composed is None or not mine.exists():
        return None
    from steelyard import experiment

    with known_to_hydra(trial.composed):
        return experiment.resume(mine, announce=announce, watch=watch)


def _ended(error: BaseException) -> tuple[folder.State, int]:
    if isinstance(error, KeyboardInterrupt):
        return folder.State.INTERRUPTED, INTERRUPTED
    if isinstance(error, Exception):
        return folder.State.FAILED, FAILED
    return folder.State.TERMINATED, TERMINATED


def _keep_or_drop(output: Path, made: Path) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.suppress(OSError):
        if not output.stat().st_size:
            output.unlink()
        elif output.parent != made and made.is_dir():
            output.rename(made / OUTPUT)
