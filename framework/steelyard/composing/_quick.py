"""A config loader for sweeps: Hydra composes each choice of groups once, and values are set on a copy of that.

What Hydra does with `key=value`, `+key=value` and `~key` is an update of the composed config, in order; nothing before
that step can see the value, since a defaults list may only look at choices and at the environment. So the same update
of a copy gives the same. Whatever else there is (packages, `hydra.*`, what Hydra would refuse) is left to Hydra itself.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# A config is a tree of anything.

import contextlib
import inspect
import os
import pickle
import re
from collections.abc import Sequence
from types import FrameType
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigSource
from hydra.plugins.sweeper import Sweeper
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from typing_extensions import override

from steelyard.composing._job import Job
from steelyard.composing._way import Base, Way, text_of, without_hydra

MOST = 64
"""Compositions that are kept; the oldest goes first."""
_REFUSALS = (HydraException, OmegaConfBaseException, ValueError)
"""After these Hydra composes, and says what is wrong in its own words."""
_CHECK = Sweeper.validate_batch_is_legal.__code__
"""Hydra's sweepers compose every job once more to see whether it is legal, and drop what they get."""


class QuickLoader(ConfigLoader):
    """Answers as the loader that it stands before; only `load_sweep_config` is quicker.

    Args:
        loader: Hydra's.

    Attributes:
        composed: How often Hydra really composed for a sweep.
        keeps: True to keep what was made, for `taken`: a sweeper composes all jobs to check them, and the launcher
            does so again. It costs the memory of all jobs in between.
    """

    def __init__(self, loader: ConfigLoader) -> None:
        self._loader = loader
        self._parser = OverridesParser.create(config_loader=loader)
        self._parsed: dict[str, Override] = {}
        self._groups: dict[tuple[str, ...], bool] = {}
        self._bases: dict[tuple[str, ...], Base] = {}
        self._kept: dict[tuple[str, ...], DictConfig] = {}
        self.composed = 0
        self.keeps = False

    @override
    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: Sequence[str]) -> DictConfig:
        way = self._way(master_config, sweep_overrides)
        if way is not None and not self.keeps and _is_check(inspect.currentframe()):
            with contextlib.suppress(*_REFUSALS):
                tried = way.base.takes(way.settings)
                if tried is not None:
                    return tried
        config = self._load(master_config, sweep_overrides, way)
        if self.keeps:
            self._kept[tuple(sweep_overrides)] = config
        return config

    def taken(self, master_config: DictConfig, sweep_overrides: Sequence[str]) -> DictConfig:
        """The same as `load_sweep_config`, to be changed by the caller: what was kept is given away once."""
        kept = self._kept.pop(tuple(sweep_overrides), None)
        if kept is None:
            kept = self._load(master_config, sweep_overrides, self._way(master_config, sweep_overrides))
        return kept

    def way(self, master_config: DictConfig, sweep_overrides: Sequence[str]) -> Way | None:
        """How a fork gets to the config of a job, for `job`; None where this process has to compose it.

        That is where Hydra composes, which takes long, and where a resolver of the application is asked: it may give
        another answer each time, and in forks that are alike it would give the same.
        """
        way = self._way(master_config, sweep_overrides)
        known = None if way is None else way.base.sketched()
        steady = known is not None and known.steady
        return way if way and steady and not any("${" in text_of(word) for word in way.settings) else None

    def job(
        self,
        master_config: DictConfig,
        sweep_overrides: Sequence[str],
        *,
        number: int,
        key: tuple[str, ...] | None = None,
        spend: bool = False,
    ) -> Job:
        """The same for a job, to be changed by the caller.

        Args:
            master_config: Of the sweep.
            sweep_overrides: Of the job.
            number: Of the job.
            key: Of the way that `way` found before the fork, whose environment may be another; None to find one.
            spend: True in a process that ends with the job: what is here becomes the job's, in place of a copy.
        """
        way = self._way(master_config, sweep_overrides, key)
        changed = None if way is None else way.changed()
        # Of the whole, that nobody may spend before it is looked through.
        known = None if way is None else way.base.sketched()
        composed = self.composed
        config = self._load(master_config, sweep_overrides, way, spend=spend)
        handed = self._load(master_config, sweep_overrides, way, bare=True, spend=spend)
        set_number(config, number)
        if self.composed != composed:
            return Job(config=config, handed=handed)
        return Job(config=config, handed=handed, sketch=known, changed=changed)

    def known(self) -> frozenset[tuple[str, ...]]:
        """The keys of what has been composed; with them a fork of this process finds the same ways, and spends it."""
        for base in self._bases.values():
            base.spare = base.copy(bare=True) if base.spare is None else base.spare
        return frozenset(self._bases)

    def _way(
        self, master_config: DictConfig, sweep_overrides: Sequence[str], key: tuple[str, ...] | None = None
    ) -> Way | None:
        """None where Hydra has to compose."""
        # As it was typed: an interpolation in it is for each job to ask, not for the sweep.
        typed: Any = OmegaConf.to_container(master_config.hydra.overrides.hydra)
        name, words = master_config.hydra.job.config_name, [*typed, *sweep_overrides]
        searchpath = tuple(word for word in words if word.startswith("hydra.searchpath"))
        try:
            parsed = [self._parse(word) for word in words]
            settings = [word for word in parsed if self._is_setting(word, name, searchpath)]
            key = key or self._key(name, [text_of(word) for word in parsed if word not in settings])
            base = self._base(name, key)
        except _REFUSALS:
            return None
        return Way(key, base, settings, [word for word in parsed if not word.is_hydra_override()])

    def _load(
        self,
        master_config: DictConfig,
        sweep_overrides: Sequence[str],
        way: Way | None,
        *,
        bare: bool = False,
        spend: bool = False,
    ) -> DictConfig:
        config = None
        if way is not None:
            with contextlib.suppress(*_REFUSALS):
                config = way.config(bare=bare, spend=spend)
        if config is None:
            self.composed += 1
            whole = self._loader.load_sweep_config(master_config, list(sweep_overrides))
            return without_hydra(whole) if bare else whole
        OmegaConf.copy_cache(from_config=master_config, to_config=config)
        return config

    @override
    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        return self._loader.load_configuration(
            config_name, overrides, run_mode, from_shell=from_shell, validate_sweep_overrides=validate_sweep_overrides
        )

    @override
    def get_search_path(self) -> ConfigSearchPath:
        return self._loader.get_search_path()

    @override
    def get_sources(self) -> list[ConfigSource]:
        return self._loader.get_sources()

    @override
    def list_groups(self, parent_name: str) -> list[str]:
        return self._loader.list_groups(parent_name)

    @override
    def get_group_options(
        self,
        group_name: str,
        results_filter: ObjectType | None = ObjectType.CONFIG,
        config_name: str | None = None,
        overrides: list[str] | None = None,
    ) -> list[str]:
        return self._loader.get_group_options(group_name, results_filter, config_name, overrides)

    @override
    def compute_defaults_list(self, config_name: str | None, overrides: list[str], run_mode: RunMode) -> Any:
        return self._loader.compute_defaults_list(config_name, overrides, run_mode)

    def _parse(self, word: str) -> Override:
        if word not in self._parsed:
            (self._parsed[word],) = self._parser.parse_overrides([word])
        return self._parsed[word]

    def _key(self, name: str | None, words: Sequence[str]) -> tuple[str, ...]:
        # A defaults list may look at the environment.
        return (str(name), str(hash(frozenset(os.environ.items()))), *words)

    def _base(self, name: str | None, key: tuple[str, ...]) -> Base:
        base = self._bases.pop(key, None)
        if base is None:
            self.composed += 1
            config = self._loader.load_configuration(name, list(key[2:]), RunMode.RUN)
            try:
                pickled = pickle.dumps(config)
                bare = pickle.dumps(without_hydra(pickle.loads(pickled)))  # noqa: S301 - just made
            except Exception:  # an object that somebody put into a config may fail in any way
                pickled = bare = None
            base = Base(config, pickled, bare)
        self._bases[key] = base
        if len(self._bases) > MOST:
            del self._bases[next(iter(self._bases))]
        return base

    def _is_setting(self, word: Override, name: str | None, searchpath: tuple[str, ...]) -> bool:
        """True if Hydra would apply it to the composed config, and nothing of Hydra's own depends on it."""
        return (
            word.package is None
            and not word.is_sweep_override()
            and not word.is_hydra_override()
            and not (word.is_delete() and word.value() is not None)  # it looks at the value that it deletes
            and re.fullmatch(r"(?!hydra\b)\w+(\.\w+)*", word.key_or_group) is not None
            and not self._is_group(word.key_or_group, name, searchpath)
        )

    def _is_group(self, key: str, name: str | None, searchpath: tuple[str, ...]) -> bool:
        asked = (key, str(name), *searchpath)
        if asked not in self._groups:
            options = self._loader.get_group_options(
                key, results_filter=None, config_name=name, overrides=list(searchpath)
            )
            self._groups[asked] = bool(options) or any(source.is_group(key) for source in self._loader.get_sources())
        return self._groups[asked]


def set_number(config: DictConfig, number: int) -> None:
    """Notes which job of its sweep a config is of."""
    job = config.hydra.job
    with open_dict(job):
        job.id = number
        job.num = number


def _is_check(frame: FrameType | None) -> bool:
    """True if the function of this frame was called by a sweeper's check."""
    return frame is not None and frame.f_back is not None and frame.f_back.f_code is _CHECK
