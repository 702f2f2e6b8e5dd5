"""What to paste where a run is refused, in the words of LightningCLI."""

import re
import shlex
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from importlib import resources
from typing import Any

import yaml

from steelyard.composing.source import PACKAGE
from steelyard.door.translating import LIFTED
from steelyard.problem import Refused

_WORD = re.compile(r"(?P<key>[A-Za-z]\w*(?:\.\w+)*)=(?P<value>.*)")
_QUOTES = ("'", '"')
_HEADS = {"seed": "seed_everything", "logger": "trainer.logger", "task": "model"} | {
    name: f"model.{name}" for name in LIFTED
}
_PRESETS = ("data", "task", *LIFTED)
"""Groups whose options are files of ours, which stand for a class at this door."""
_NAMELESS = ("experiment", "logger")
"""Groups whose options have no name here."""
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
    if head == "hydra" or (not rest and head in _NAMELESS):
        return None
    if not rest and head in _PRESETS:
        return _class_of(head, value)
    name = ".".join(part for part in (_HEADS.get(head, head), *rest.split(".")) if part not in ("", "_target_"))
    return f"--{name} {value if value[:1] in _QUOTES else shlex.quote(value)}"


def _class_of(group: str, option: str) -> str | None:
    """The class of a preset, with the options of one that is not ours; ours have them by default."""
    file = resources.files(PACKAGE) / group / f"{option}.yaml"
    node: Any = yaml.safe_load(file.read_text()) if file.is_file() else {}
    target = node.pop("_target_", "???")
    if target == "???":
        return None
    ours = target.partition(".")[0] == __name__.partition(".")[0]
    options = {} if ours else {name: value for name, value in node.items() if not name.startswith("_")}
    words = [f"{group}._target_={target}", *(f"{group}.{name}={value}" for name, value in options.items())]
    return " ".join(typed for word in words if (typed := _typed(word)))
