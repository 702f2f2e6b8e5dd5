"""How to the config of a job: a copy of what Hydra composed, in which some values are set as Hydra sets them."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# A config is a tree of anything.

import contextlib
import copy
import pickle
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict

from steelyard.composing._sketch import Sketch, sketch


@dataclass(slots=True)
class Base:
    """What Hydra composed, to be copied.

    Attributes:
        config: The composition; only a fork that spends it changes it.
        pickled: The same as bytes, the quickest way to a copy; None if something in it cannot be pickled.
        bare: The same without `hydra`.
        sketch: What its jobs have in common, once a job has been asked for.
        tried: What settings are tried on; it holds the last ones.
        leaves: Key -> True if it is a plain value, of which no setting makes anything else.
        spare: A copy of `bare`, for a fork to spend.
    """

    config: DictConfig
    pickled: bytes | None
    bare: bytes | None
    sketch: Sketch | None = None
    tried: DictConfig | None = None
    leaves: dict[str, bool] = field(default_factory=dict[str, bool])
    spare: DictConfig | None = None

    def spend(self, *, bare: bool) -> DictConfig:
        """What lies here itself, once: to read a copy takes a fork longer than all that it changes of it."""
        spent, self.spare = (self.spare, None) if bare else (self.config, self.spare)
        return self.copy(bare=bare) if spent is None else spent

    def copy(self, *, bare: bool) -> DictConfig:
        pickled = self.bare if bare else self.pickled
        if pickled is not None:
            # Only bytes that this process has just made are read.
            return pickle.loads(pickled)  # noqa: S301
        config = copy.deepcopy(self.config)
        return without_hydra(config) if bare else config

    def takes(self, words: Sequence[Override]) -> DictConfig | None:
        """A config that has these settings and others; None where only a copy of its own can tell if they are legal.

        One plain value in place of another is legal or not whatever the others are.
        """
        if not all(map(self._is_plain, words)):
            return None
        if self.tried is None:
            self.tried = self.copy(bare=True)
        for word in words:
            set_value(self.tried, word)
        return self.tried

    def _is_plain(self, word: Override) -> bool:
        value = word.value()
        plain = value is None or isinstance(value, bool | int | float | str)
        if word.is_add() or word.is_delete() or not plain or "${" in text_of(word) or "?" in text_of(word):
            return False
        key = word.key_or_group
        if key not in self.leaves:
            self.leaves[key] = is_leaf(self.config, key)
        return self.leaves[key]

    def sketched(self) -> Sketch | None:
        if self.sketch is None:
            # What cannot be written down is told of the job that needs it.
            with contextlib.suppress(Exception):
                self.sketch = sketch(self.config)
        return self.sketch


@dataclass(frozen=True, slots=True)
class Way:
    """How to the config of some words.

    Attributes:
        key: Of the base.
        base: To be copied.
        settings: To be set in it.
        noted: What Hydra writes down of the words.
    """

    key: tuple[str, ...]
    base: Base
    settings: Sequence[Override]
    noted: Sequence[Override]

    def config(self, *, bare: bool, spend: bool = False) -> DictConfig | None:
        """None where Hydra has to compose it."""
        config = self.base.spend(bare=bare) if spend else self.base.copy(bare=bare)
        if not all(set_value(config, word) for word in self.settings):
            return None
        if not bare:
            note(config, self.noted)
        return config

    def changed(self) -> frozenset[str] | None:
        """The keys below which the settings change something; None where they may do so through an interpolation."""
        if any("${" in text_of(word) or leads_elsewhere(self.base.config, word.key_or_group) for word in self.settings):
            return None
        return frozenset(word.key_or_group.partition(".")[0] for word in self.settings)


def without_hydra(config: DictConfig) -> DictConfig:
    with open_dict(config):
        del config["hydra"]
    return config


def is_leaf(config: DictConfig, path: str) -> bool:
    """True of a value that is there, and that no interpolation leads to."""
    *above, last = path.split(".")
    if leads_elsewhere(config, path):
        return False
    node: Any = config
    for key in above:
        node = node.get(key) if isinstance(node, DictConfig) and key in node.keys() else None  # noqa: SIM118
    if not isinstance(node, DictConfig) or last not in node.keys() or OmegaConf.is_interpolation(node, last):  # noqa: SIM118
        return False
    return not OmegaConf.is_missing(node, last) and node[last] is not None and not OmegaConf.is_config(node[last])


def leads_elsewhere(config: DictConfig, path: str) -> bool:
    """True if there may be an interpolation on the way."""
    node: Any = config
    for key in path.split(".")[:-1]:
        if not isinstance(node, DictConfig):
            return OmegaConf.is_list(node)
        if key not in node.keys():  # noqa: SIM118 - `in node` asks what an interpolation leads to
            return False
        if OmegaConf.is_interpolation(node, key):
            return True
        node = None if OmegaConf.is_missing(node, key) else node[key]
    return False


def set_value(config: DictConfig, word: Override) -> bool:
    """Applies one override as Hydra does; False where Hydra would refuse it."""
    key, value = word.key_or_group, word.value()
    found = OmegaConf.select(config, key, throw_on_missing=False) if word.is_delete() or word.is_add() else None
    if word.is_delete():
        if found is None:
            return False
        above, _, last = key.rpartition(".")
        with open_dict(config):
            node: Any = OmegaConf.select(config, above) if above else config
            del node[last]
    elif word.is_add():
        if found is not None and not isinstance(value, dict | list):
            return False
        OmegaConf.update(config, key, value, merge=True, force_add=True)
    else:
        OmegaConf.update(config, key, value, merge=True, force_add=word.is_force_add())
    return True


def note(config: DictConfig, words: Sequence[Override]) -> None:
    """What Hydra writes down of the overrides of the job."""
    job = config.hydra.job
    names = job.config.override_dirname
    config.hydra.overrides.task = [text_of(word) for word in words]
    kept = sorted(text_of(word) for word in words if word.key_or_group not in names.exclude_keys)
    job.override_dirname = re.sub("=", names.kv_sep, names.item_sep.join(kept))


def text_of(word: Override) -> str:
    assert word.input_line is not None
    return word.input_line
