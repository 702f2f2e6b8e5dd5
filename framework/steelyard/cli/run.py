"""`steelyard run`, `weigh` and `plan`: one config, or a sweep of them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from steelyard.cli import _flags
from steelyard.cli._flags import Flags
from steelyard.cli._verbs import working_folder_last
from steelyard.problem import refuse

if TYPE_CHECKING:
    from steelyard.cli._origin import Origin
    from steelyard.composing import Composed

KEY, CKPT = "config=", "ckpt="


def main(verb: str, words: Sequence[str]) -> int:
    """Runs the verb and gives the exit code."""
    flags = _flags.parse(verb, words)
    if verb == "run" and any(word.startswith(CKPT) for word in flags.words):
        verb = "weigh"
    working_folder_last()
    if flags.help:
        from steelyard.cli._help import print_help

        return print_help(verb, flags)
    overrides, checkpoint = _checkpoint(verb, flags)
    made = _made(checkpoint, overrides)
    if made is not None:
        overrides = (*made.words, *overrides)
        if not flags.multirun and any(word.startswith("experiment=") for word in made.words):
            # The checkpoint is of one trial, also where the experiment is a sweep.
            overrides = (*overrides, "hydra.mode=RUN")
    again, overrides = _again(flags, overrides)
    if flags.looks:
        from steelyard.cli._show import show

        return show(replace(flags, words=overrides), again)
    from steelyard.composing import compose

    composed = again or (None if flags.multirun else compose(*overrides, folders=flags.folders))
    if made is not None and composed is not None:
        composed = made.marked(composed)
    from steelyard.cli._jobs import single, sweep
    from steelyard.cli._siblings import siblings
    from steelyard.sweeping.trial import Job

    job = Job(verb=verb, checkpoint=checkpoint)
    if composed is None or composed.wants_sweep:
        return sweep(job, overrides, flags.folders)
    with_siblings = () if again or verb == "weigh" else siblings(composed)
    if with_siblings:
        return sweep(job, with_siblings, flags.folders)
    return single(job, composed)


def _made(checkpoint: Path | None, words: Sequence[str]) -> "Origin | None":
    """What the run of a checkpoint brings along; nothing where the command line brings a whole config."""
    if checkpoint is None or any(word.startswith(KEY) for word in words):
        return None
    from steelyard.cli._origin import origin

    return origin(checkpoint.absolute(), words)


def _again(flags: Flags, words: tuple[str, ...]) -> "tuple[Composed | None, tuple[str, ...]]":
    """`config=PATH` takes the config of an earlier run in place of a composed one."""
    paths = [word.removeprefix(KEY) for word in words if word.startswith(KEY)]
    if not paths:
        return None, words
    if flags.multirun or flags.folders or len(paths) > 1:
        raise refuse(f"{KEY}PATH is one whole config: it is neither swept nor composed", fix=f"{KEY}{paths[0]} seed=1")
    from steelyard.composing import stored

    rest = tuple(word for word in words if not word.startswith(KEY))
    return stored(Path(paths[0]), rest), rest


def _checkpoint(verb: str, flags: Flags) -> tuple[tuple[str, ...], Path | None]:
    """`weigh`, or `run` with a checkpoint, takes `ckpt=PATH` out of the words: it says what to weigh, not how."""
    if verb != "weigh":
        return flags.words, None
    paths = [word.removeprefix(CKPT) for word in flags.words if word.startswith(CKPT)]
    if flags.looks and not paths:
        return flags.words, None
    if len(paths) != 1 or not paths[0]:
        raise refuse("weigh needs one checkpoint", fix="ckpt=outputs/RUN/checkpoints/last.ckpt")
    checkpoint = Path(paths[0])
    if not checkpoint.is_file():
        raise refuse(f"there is no checkpoint {checkpoint}", fix="ckpt=outputs/RUN/checkpoints/last.ckpt")
    return tuple(word for word in flags.words if not word.startswith(CKPT)), checkpoint
