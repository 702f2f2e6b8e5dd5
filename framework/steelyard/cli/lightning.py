"""`steelyard lightning`: the same runs through LightningCLI."""

import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from steelyard import folder, spec
from steelyard.cli import _console
from steelyard.cli._jobs import OUTPUTS, shown
from steelyard.cli._main import Exit
from steelyard.cli._verbs import VERBS, working_folder_last
from steelyard.door.entering import VERBS as WAYS
from steelyard.door.entering import Asked, enter
from steelyard.door.wording import in_words_of_the_door
from steelyard.problem import refuse
from steelyard.registry import did_you_mean
from steelyard.scorecard import Scorecard

Announce = Callable[[Path], None]


def main(verb: str, words: Sequence[str]) -> int:
    """Runs the verb and gives the exit code."""
    way, *rest = words or ["--help"]
    if way in ("-h", "--help"):
        sys.stdout.write(
            f"usage: steelyard {verb} {VERBS[verb].usage}\n\n{VERBS[verb].help}\n\n"
            f"steelyard {verb} fit --help lists the keys; --print_config prints the config instead of running it.\n"
        )
        return Exit.DONE
    if way not in WAYS:
        raise refuse(f"LightningCLI has no {way}{did_you_mean(way, WAYS)}", fix=f"steelyard {verb} fit ...")
    working_folder_last()
    with in_words_of_the_door():
        return _go(way, rest)


def _go(way: str, rest: Sequence[str]) -> int:
    asked = enter(way, rest)
    if way == "fit":
        return shown(lambda announce: _fit(asked, announce))
    if way == "test":
        return shown(lambda announce: _test(asked, announce))
    from steelyard.door import looking

    if way == "validate":
        for name, value in looking.validate(asked).items():
            _console.write(f"{name}  {value:.6g}")
        return Exit.DONE
    place = folder.create(OUTPUTS, f"{datetime.now():%Y-%m-%d_%H-%M-%S}_predict")
    try:
        _console.write(str(looking.predict(asked, place=place)))
    except BaseException:
        folder.discard(place)
        raise
    return Exit.DONE


def _fit(asked: Asked, announce: Announce) -> Scorecard:
    from steelyard import experiment

    with in_words_of_the_door():
        return experiment.run(
            asked.config,
            choices=asked.choices,
            overrides=asked.words,
            outputs=OUTPUTS,
            announce=announce,
            checkpoint=asked.checkpoint,
            command=_command(asked),
        )


def _test(asked: Asked, announce: Announce) -> Scorecard:
    from steelyard import experiment

    assert asked.checkpoint is not None
    with in_words_of_the_door():
        return experiment.weigh(
            asked.config,
            ckpt=asked.checkpoint,
            choices=asked.choices,
            overrides=asked.words,
            outputs=OUTPUTS,
            announce=announce,
            command=_command(asked),
        )


def _command(asked: Asked) -> str:
    return " ".join(["steelyard", "lightning", asked.verb, *spec.masked_overrides(asked.words)])
