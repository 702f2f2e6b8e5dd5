"""What to paste where a run is refused, in the words of LightningCLI."""

import re
import shlex
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace

from steelyard.door.translating import LIFTED
from steelyard.problem import Refused

_WORD = re.compile(r"(?P<key>[A-Za-z]\w*(?:\.\w+)*)=(?P<value>.*)")
_QUOTES = ("'", '"')
_HEADS = {"seed": "seed_everything", "logger": "trainer.logger", "task": "model"} | {
    name: f"model.{name}" for name in LIFTED
}
_PRESETS = ("data", "experiment", "logger", "task", *LIFTED)
"""Groups whose options are files of ours, which have no name at this door."""
_TRAINERS = {
    "default": "--trainer.strategy auto",
    "gpu": "--trainer.accelerator gpu",
    "ddp": "--trainer.strategy ddp",
    "fsdp2": "--trainer.strategy fsdp2",
    "deepspeed": "--trainer.strategy deepspeed",
}
"""Preset -> what it stands for."""


@contextmanager
def in_words_of_the_door() -> Generator[None]:
    """Words that mend a refused run are those of `steelyard run`; what comes out of this has them as typed here."""
    try:
        yield
    except Refused as refused:
        raise Refused([replace(one, fix=pasted(one.fix)) for one in refused.problems]) from refused


def pasted(fix: str) -> str:
    """`optimizer.lr=0.1` as `--model.optimizer.lr 0.1`; what nothing here stands for stays as it is.

    Args:
        fix: Overrides with spaces between them, or anything else.
    """
    typed = [_typed(word) for word in fix.split()]
    return " ".join(word for word in typed if word) if all(typed) else fix


def _typed(word: str) -> str | None:
    found = _WORD.fullmatch(word)
    if found is None:
        return None
    key, value = found["key"], found["value"]
    if key == "trainer":
        return _TRAINERS.get(value)
    head, _, rest = key.partition(".")
    if head == "hydra" or (not rest and head in _PRESETS):
        return None
    name = ".".join(part for part in (_HEADS.get(head, head), *rest.split(".")) if part not in ("", "_target_"))
    return f"--{name} {value if value[:1] in _QUOTES else shlex.quote(value)}"
