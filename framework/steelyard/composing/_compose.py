"""Composing: words in, checked configs out."""

import contextlib
import os
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from steelyard.composing._alone import alone
from steelyard.composing._catalogue import Raw, look
from steelyard.composing._explain import explain
from steelyard.composing._settle import settle
from steelyard.composing._words import Word, read, searchpath, without_effect
from steelyard.composing.source import PACKAGE, PRIMARY, register
from steelyard.estimating.settings import Planning
from steelyard.problem import Problem, Refused
from steelyard.schema import build
from steelyard.sweeping.settings import Sweep

JOB = "steelyard"
VERSION = "1.3"
"""The behaviour of Hydra that the configs are written for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """One checked config.

    Attributes:
        config: Without `hydra`; every challenge holds its selected plugins' full settings and nothing else.
        choices: Group -> chosen options, joined by commas.
        overrides: The words that made it.
        notes: What was dropped on the way.
        number: The trial's number in a sweep.
        hydra: Hydra's own config, for `${hydra:...}`.
        sweep: How a sweep of it is run; no part of a trial's own config.
        planning: What `steelyard plan` looks at; no part of it either.
    """

    config: DictConfig
    choices: Mapping[str, str]
    overrides: tuple[str, ...]
    notes: tuple[str, ...]
    hydra: DictConfig
    sweep: Sweep
    planning: Planning = field(default_factory=Planning)
    number: int = 0

    @property
    def wants_sweep(self) -> bool:
        """True if the config itself sets `hydra.mode: MULTIRUN`."""
        return self.hydra.mode == RunMode.MULTIRUN


def compose(*words: str, folders: Sequence[Path] = ()) -> Composed:
    """One config from the words of the command line.

    Args:
        *words: Hydra's overrides.
        folders: With YAML of the user's own.

    Raises:
        Refused: With every problem, each with an override to paste.
    """
    register()
    everything = (*words, *searchpath(folders))
    understood = read(everything)
    ignored = list(without_effect(understood))
    if ignored:
        raise Refused(ignored)
    try:
        raw = _raw([word.text for word in understood if not word.sweeps])
    except Exception as error:
        raise explain(error, everything) from error
    sweeps = [word for word in understood if word.sweeps]
    if sweeps and raw.hydra.mode != RunMode.MULTIRUN:
        raise Refused([_several(word) for word in sweeps])
    if raw.hydra.mode == RunMode.MULTIRUN:
        # Checked trial by trial; a setting may belong to a plugin that only some of them select.
        return finished(raw, raw.config, (), sweep=True)
    config, notes = settle(raw)
    return finished(raw, config, notes, sweep=False)


def finished(raw: Raw, config: DictConfig, notes: tuple[str, ...], *, sweep: bool) -> Composed:
    """Puts together what is known of one config, which it may change."""
    if config.get("checkpoints") == "auto":
        config.checkpoints = "none" if sweep else "last"
    settings: Any = config.pop("sweep", None)
    planning: Any = config.pop("plan", None)
    return Composed(
        config=config,
        sweep=build(Sweep, settings or {}, path="sweep"),
        planning=build(Planning, planning or {}, path="plan"),
        choices={group: ",".join(options) for group, options in raw.choices.items()},
        overrides=raw.overrides,
        notes=notes,
        hydra=raw.hydra,
        number=raw.number,
    )


def options_of(group: str, *, folders: Sequence[Path] = ()) -> tuple[str, ...]:
    """What may stand behind `group=`; empty if there is no such group."""
    with session():
        loader = GlobalHydra.instance().config_loader()
        found = loader.get_group_options(group, overrides=list(searchpath(folders)))
    return tuple(found)


@contextlib.contextmanager
def session() -> Generator[None]:
    """Hydra, set up for our configs; what the process did with Hydra before is put back at the end."""
    register()
    with alone(), hydra.initialize_config_module(PACKAGE, job_name=JOB, version_base=VERSION):
        yield


@contextlib.contextmanager
def known_to_hydra(composed: Composed) -> Generator[None]:
    """Lets `${hydra:...}` find its values and sets `hydra.job.env_set`, as in a job that Hydra itself runs."""
    known = HydraConfig.instance()
    before = known.cfg
    known.set_config(OmegaConf.create({"hydra": composed.hydra}))
    variables: dict[str, str] = {str(name): str(value) for name, value in composed.hydra.job.env_set.items()}
    environment = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        known.cfg = before
        for name, value in environment.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _raw(words: list[str]) -> Raw:
    with session():
        whole = hydra.compose(PRIMARY, overrides=words, return_hydra_config=True)
        own = whole.hydra
        OmegaConf.set_struct(whole, False)
        del whole["hydra"]
        return look(whole, own)


def _several(word: Word) -> Problem:
    return Problem(f"{word.text} has several values: a sweep needs -m, a list needs brackets", f"-m {word.text}")
