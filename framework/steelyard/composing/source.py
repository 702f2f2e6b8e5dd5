"""How the installed plugins enter Hydra: one lazy config source and its place in the search path.

The ConfigStore would need every declaration imported up front, and Hydra copies it deeply about 120 times per
composition. This source imports the declarations that are selected, and nothing else.
"""

from functools import lru_cache
from importlib import resources
from typing import Any

import yaml
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf

from steelyard import registry
from steelyard.schema import twin

PRIMARY = "config"
"""The name of the primary config."""
PACKAGE = "steelyard_conf"
"""The package that holds it."""
NONE = "none"
"""The option of every challenge that selects no plugin."""


class SteelyardSource(ConfigSource):
    """Serves the primary config, `<challenge>/none` and `<challenge>/<plugin>`."""

    @staticmethod
    def scheme() -> str:
        """The scheme of this source in Hydra's search path."""
        return "steelyard"

    def available(self) -> bool:
        """Always: it is made of what is installed."""
        return True

    def is_group(self, config_path: str) -> bool:
        """True for the root and every challenge."""
        return config_path in ("", *registry.challenges())

    def is_config(self, config_path: str) -> bool:
        """True for the primary config and every option of a challenge."""
        challenge, _, option = config_path.removesuffix(".yaml").rpartition("/")
        if not challenge:
            return option == PRIMARY
        plugins = registry.challenges().get(challenge)
        return plugins is not None and option in (NONE, *plugins)

    def list(self, config_path: str, results_filter: ObjectType | None) -> "list[str]":
        """The challenges, or the options of one."""
        found: list[str] = []
        if results_filter in (None, ObjectType.GROUP) and config_path == "":
            found += registry.challenges()
        if results_filter in (None, ObjectType.CONFIG):
            found += [PRIMARY] if config_path == "" else [NONE, *registry.challenges().get(config_path, ())]
        return sorted(found)

    def load_config(self, config_path: str) -> ConfigResult:
        """Makes one config.

        Raises:
            Refused: If the plugin behind it is broken.
        """
        if not self.is_config(config_path):
            raise ConfigLoadError(f"Config not found : {config_path}")
        challenge, _, option = config_path.removesuffix(".yaml").rpartition("/")
        if not challenge:
            return self._result(primary(), package=None)
        if option == NONE:
            # The node stands open, so that settings of a plugin that is not selected reach the core, which checks them.
            return self._result(_open(OmegaConf.create({})), package=challenge)
        key = f"{challenge}.{option}"
        return self._result(_open(OmegaConf.create(twin(registry.load(key)))), package=key)

    def _result(self, config: DictConfig, *, package: str | None) -> ConfigResult:
        return ConfigResult(provider=self.provider, path=self.full_path(), config=config, header={"package": package})


class SteelyardSearchPath(SearchPathPlugin):
    """Puts our source first, and the packages of presets behind the primary config's own package."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Called by Hydra whenever it makes a search path; does nothing in other applications of this process."""
        if not any(part.path == f"pkg://{PACKAGE}" for part in search_path.get_path()):
            return
        search_path.prepend("steelyard", f"{SteelyardSource.scheme()}://")
        for package in registry.conf_packages():
            if package != PACKAGE:
                search_path.append(f"preset {package}", f"pkg://{package}")


def register() -> None:
    """Makes both known to Hydra; calling it again changes nothing."""
    for plugin in (SteelyardSource, SteelyardSearchPath):
        Plugins.instance().register(plugin)


def primary() -> DictConfig:
    """The primary config: the YAML file, and in its defaults list every challenge that somebody founded."""
    founded = registry.challenges()
    tree = _yaml()
    defaults: list[str | dict[str, str]] = tree["defaults"]
    named = {group for item in defaults if isinstance(item, dict) for group in item}
    end = next(at for at, item in enumerate(defaults) if "experiment" in item)
    new = [{challenge: NONE} for challenge in founded if challenge not in named]
    config = OmegaConf.create(
        {**tree, **{challenge: {} for challenge in founded}, "defaults": [*defaults[:end], *new, *defaults[end:]]}
    )
    for node in config.values():
        if isinstance(node, DictConfig) and not node:
            _open(node)
    return config


def roots() -> frozenset[str]:
    """The keys of the primary config."""
    return frozenset(_yaml()) - {"defaults", "hydra"}


def groups() -> tuple[str, ...]:
    """The groups of its defaults list."""
    items = [item for item in primary().defaults if isinstance(item, DictConfig)]
    return tuple(str(group) for item in items for group in item if not str(group).startswith("override "))


@lru_cache(maxsize=1)
def _yaml() -> dict[str, Any]:
    return yaml.safe_load(resources.files(PACKAGE).joinpath(f"{PRIMARY}.yaml").read_text(encoding="utf-8"))


def _open(config: DictConfig) -> DictConfig:
    OmegaConf.set_struct(config, False)
    return config
