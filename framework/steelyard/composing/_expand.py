"""Sweeps: the trials that Hydra's sweeper makes of the words, each checked before the first one runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from steelyard.composing._catalogue import Raw, look
from steelyard.composing._compose import Composed, finished
from steelyard.composing._hydra_main import through_hydra
from steelyard.composing._settle import settle
from steelyard.composing._words import read, without_effect
from steelyard.problem import Refused, refuse

LAUNCHERS = ("steelyard", "basic")
"""Those that run trials here: each in a process of its own, or one after the other in this one."""
SWEEPERS = ("basic", "random")
"""Hydra's grid, and random search."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One job of a sweep: composed or refused.

    Attributes:
        number: Hydra's job number.
        overrides: The words of this trial, from the experiment's file and from the command line.
        config: As Hydra composed it, unchecked.
        composed: The checked config, or None.
        refused: Why there is none, or None.
    """

    number: int
    overrides: tuple[str, ...]
    config: DictConfig
    composed: Composed | None = None
    refused: Refused | None = None


class Collector:
    """A job that only writes down its config.

    Attributes:
        seen: What Hydra made of each job.
    """

    def __init__(self) -> None:
        self.seen: list[Raw] = []

    def __call__(self, config: DictConfig) -> None:
        """What Hydra's own launcher calls."""
        own: Any = HydraConfig.get()
        self._note(config, own.copy())

    def take(self, whole: DictConfig) -> None:
        """What our launcher calls, with the config of a job still in one piece."""
        own = whole.hydra
        OmegaConf.set_struct(whole, False)
        del whole["hydra"]
        self._note(whole, own)

    def _note(self, config: DictConfig, own: DictConfig) -> None:
        _check(own)
        self.seen.append(look(config, own, number=int(own.job.num)))


def expand(*words: str, place: Path, folders: Sequence[Path] = ()) -> tuple[Trial, ...]:
    """All trials of a sweep, in Hydra's order.

    Hydra's sweeper and launcher run here with a job that only writes down its config: so a plugin that another trial
    selects is known, and what is wrong is said before hours of training.

    Args:
        *words: Hydra's overrides.
        place: The sweep folder, for `hydra.sweep.dir`.
        folders: With YAML of the user's own.

    Raises:
        Refused: If the words do not compose, or if every trial is refused.
    """
    ignored = list(without_effect(read(words)))
    if ignored:
        raise Refused(ignored)
    collector = Collector()
    quoted = str(place).replace("'", r"\'")
    through_hydra(["--multirun", *words, f"hydra.sweep.dir='{quoted}'"], folders=folders, task=collector)
    elsewhere = frozenset(key for raw in collector.seen for key in raw.fillers)
    trials = tuple(_trial(raw, elsewhere) for raw in collector.seen)
    if trials and all(trial.refused for trial in trials):
        problems = [problem for trial in trials if trial.refused for problem in trial.refused.problems]
        raise Refused(list(dict.fromkeys(problems)))
    return trials


def _trial(raw: Raw, elsewhere: frozenset[str]) -> Trial:
    try:
        config, notes = settle(raw, elsewhere=elsewhere)
    except Refused as refused:
        return Trial(number=raw.number, overrides=raw.overrides, config=raw.config, refused=refused)
    composed = finished(raw, config, notes, sweep=True)
    return Trial(number=raw.number, overrides=raw.overrides, config=raw.config, composed=composed)


def _check(hydra: DictConfig) -> None:
    for group, known in (("hydra/launcher", LAUNCHERS), ("hydra/sweeper", SWEEPERS)):
        option = hydra.runtime.choices.get(group)
        if option not in known:
            raise refuse(f"{group}={option} is not supported yet", fix=f"{group}={known[0]}")
