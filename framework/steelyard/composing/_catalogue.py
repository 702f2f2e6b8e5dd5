"""What Hydra made of the words: choices, and who filled which node."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from steelyard import registry
from steelyard.composing._words import Word, read
from steelyard.composing.source import NONE, PRIMARY


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """One composition, unchecked.

    Attributes:
        config: The job's config, without `hydra`.
        hydra: Hydra's own.
        choices: Group -> options; an empty tuple where nothing was chosen (`null`, `~group`).
        fillers: `<challenge>.<plugin>` -> the options that fill this node; more than one contradict each other.
        words: The overrides of this job.
        number: The job's number in a sweep.
    """

    config: DictConfig
    hydra: DictConfig
    choices: Mapping[str, tuple[str, ...]]
    fillers: Mapping[str, tuple[str, ...]]
    words: tuple[Word, ...]
    number: int = 0

    @property
    def overrides(self) -> tuple[str, ...]:
        """The overrides as text."""
        return tuple(word.text for word in self.words)


def look(config: DictConfig, hydra: DictConfig, *, number: int = 0) -> Raw:
    """Reads one composition while Hydra still knows it."""
    # Unresolved: `${oc.env:TOKEN}` is to stay text in everything that is written.
    typed: Any = OmegaConf.to_container(hydra.overrides, resolve=False)
    texts: list[str] = typed["task"]
    chosen = {str(group): option for group, option in hydra.runtime.choices.items()}
    choices = {group: _options(option) for group, option in chosen.items() if group.partition("/")[0] != "hydra"}
    fillers: dict[str, tuple[str, ...]] = {}
    if not _plain(choices):
        # Hydra keeps no record of a list of options, and a preset says only in its YAML which plugins it fills: the
        # answer costs one more look at the defaults.
        parts = _parts([*typed["hydra"], *texts])
        choices |= {challenge: _chosen(challenge, parts) for challenge in registry.challenges()}
        fillers = _fillers(parts)
    else:
        fillers = {f"{challenge}.{choices[challenge][0]}": choices[challenge] for challenge in registry.challenges()}
    fillers = {key: options for key, options in fillers.items() if NONE not in options}
    return Raw(
        config=config,
        hydra=hydra,
        choices=dict(sorted(choices.items())),
        fillers=fillers,
        words=read(texts),
        number=number,
    )


def _options(option: Any) -> tuple[str, ...]:
    return () if option is None else (str(option),)


def _plain(choices: Mapping[str, tuple[str, ...]]) -> bool:
    """True if every challenge has exactly one option, and that is a plugin or `none`."""
    return all(
        len(choices.get(challenge, ())) == 1 and choices[challenge][0] in (NONE, *plugins)
        for challenge, plugins in registry.challenges().items()
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """One config that Hydra merged: its path, the node it went to, and the path of the config that asked for it."""

    path: str
    node: str
    parent: str


def _parts(overrides: list[str]) -> tuple[_Part, ...]:
    loader = GlobalHydra.instance().config_loader()
    found = loader.compute_defaults_list(config_name=PRIMARY, overrides=overrides, run_mode=RunMode.RUN)
    return tuple(
        _Part(str(part.config_path), str(part.package or ""), str(part.parent or "")) for part in found.defaults
    )


def _chosen(challenge: str, parts: tuple[_Part, ...]) -> tuple[str, ...]:
    """The options of a challenge in order, each as often as it was chosen."""
    return tuple(part.path.rpartition("/")[2] for part in parts if _root(part, challenge))


def _root(part: _Part, challenge: str) -> bool:
    return part.path.startswith(f"{challenge}/") and not part.parent.startswith(f"{challenge}/")


def _fillers(parts: tuple[_Part, ...]) -> dict[str, tuple[str, ...]]:
    """Which options fill which plugin's node; presets may ask for other presets, so each part is followed home."""
    found: dict[str, list[str]] = {}
    for challenge, plugins in registry.challenges().items():
        below = [part for part in parts if part.path.startswith(f"{challenge}/")]
        chosen = {part.path for part in below if _root(part, challenge)}
        askers = {part.path: part.parent for part in below if not _root(part, challenge)}
        for part in below:
            plugin = part.node.removeprefix(f"{challenge}.")
            if plugin not in plugins:
                continue
            home = part.path if _root(part, challenge) else part.parent
            while home not in chosen and home in askers:
                home = askers[home]
            options = found.setdefault(f"{challenge}.{plugin}", [])
            if home.rpartition("/")[2] not in options:
                options.append(home.rpartition("/")[2])
    return {key: tuple(options) for key, options in found.items()}
