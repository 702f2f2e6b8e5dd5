"""A stand-in for the run itself: leaves a run folder as a run would, in no time. A forked trial inherits it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from steelyard import folder, stopping
from steelyard.folder import State
from steelyard.measurement import Measurement, Status
from steelyard.scorecard import Scorecard, Section


def stand_in(calls: Path, act: Callable[[int], None]) -> Callable[..., Scorecard]:
    """What takes the place of `experiment.run`.

    Args:
        calls: Gets a line with the seed for each call.
        act: What to do, given the seed.
    """

    def run(config: Any, **given: Any) -> Scorecard:
        with calls.open("a") as file:
            file.write(f"{config.seed}\n")
        place = folder.create(given["outputs"], given["folder_name"])
        given["announce"](place)
        with stopping.terminable(), folder.opened(place) as journal:
            (place / "config.yaml").write_text(f"seed: {config.seed}\n")
            try:
                act(int(config.seed))
            except KeyboardInterrupt:
                journal.end(State.INTERRUPTED, exit_code=130)
                raise
            except stopping.Terminated:
                journal.end(State.TERMINATED, exit_code=143)
                raise
            except Exception as error:
                journal.end(State.FAILED, exit_code=3, message=f"{type(error).__name__}: {error}")
                raise
            made = scorecard(int(config.seed), given["choices"])
            (place / "scorecard.json").write_text(json.dumps(made.to_json()))
            journal.end(State.DONE, exit_code=0)
        return made

    return run


def scorecard(seed: int, choices: Any) -> Scorecard:
    """One whose loss is the seed."""
    loss = Measurement(name="task.loss", value=float(seed), split="test")
    section = Section(key="task", status=Status.MEASURED, measurements=(loss,))
    return Scorecard(title="t", spec="s", seed=seed, sections=(section,), choices=dict(choices))
