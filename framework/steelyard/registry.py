"""The registry: which plugins are installed, read from entry points without importing any of them."""

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from steelyard import _entry_points
from steelyard.problem import Problem, Refused, refuse

if TYPE_CHECKING:
    from steelyard.plugin import Plugin

PLUGINS = "steelyard.plugins"
"""The entry point group of plugins: `<challenge>.<plugin> = module:Class`."""
CONF = "steelyard.conf"
"""The entry point group of packages of YAML presets: `<any name> = package`."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One plugin as its distribution announces it.

    Attributes:
        key: `<challenge>.<plugin>`.
        target: `module:Class`.
        distribution: Who installed it.
    """

    key: str
    target: str
    distribution: str

    @property
    def challenge(self) -> str:
        """The group of the config and the section of the scorecard."""
        return self.key.partition(".")[0]

    @property
    def name(self) -> str:
        """The option of the config."""
        return self.key.partition(".")[2]


def entries() -> tuple[Entry, ...]:
    """All that is announced, by key; a key that two distributions claim stands there twice."""
    return _announced(tuple(sys.path)).plugins


def conf_packages() -> tuple[str, ...]:
    """Packages of YAML presets, by the names of their entry points."""
    return _announced(tuple(sys.path)).packages


def challenges() -> dict[str, tuple[str, ...]]:
    """Challenge -> names of its plugins, both in alphabetical order."""
    found: dict[str, set[str]] = {}
    for entry in entries():
        if is_well_formed(entry.key):
            found.setdefault(entry.challenge, set()).add(entry.name)
    return {challenge: tuple(sorted(found[challenge])) for challenge in sorted(found)}


def is_well_formed(key: str) -> bool:
    """True for `<challenge>.<plugin>` in lower case; `none` is no plugin, it is the option that selects none."""
    return re.fullmatch(r"[a-z][a-z0-9_]*\.(?!none$)[a-z][a-z0-9_]*", key) is not None


def load(key: str) -> "type[Plugin]":
    """The declaration behind `<challenge>.<plugin>`.

    Raises:
        Refused: If nobody or more than one distribution announces it, if it does not import, or if it is no Plugin.
    """
    claims = [entry for entry in entries() if entry.key == key]
    if not claims:
        names = sorted({entry.key for entry in entries()})
        raise refuse(f"no plugin is called {key}{did_you_mean(key, names)}", fix="steelyard plugins list")
    if len(claims) > 1:
        rivals = " and ".join(f"{claim.distribution} ({claim.target})" for claim in claims)
        raise refuse(f"{key} is claimed by {rivals}", fix=f"pip uninstall {claims[-1].distribution}")
    return _declaration(claims[0])


def missing(plugin: "type[Plugin]", *, key: str) -> Iterator[Problem]:
    """What has to be installed before this plugin can work; looks for the packages, imports none."""
    for module, requirement in plugin.needs.items():
        if not _is_installed(module):
            yield Problem(
                f"{key} needs the package {module}, which is not installed", f"pip install '{requirement}'", party=key
            )


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """`, did you mean ...?` if one of the names is close, else the empty string."""
    near = nearest(word, names)
    return f"; did you mean {near}?" if near else ""


def nearest(word: str, names: Iterable[str]) -> str | None:
    """The name most like a misspelt word, or None."""
    matches = get_close_matches(word, list(names), n=1, cutoff=0.6)
    return matches[0] if matches else None


@dataclass(frozen=True, slots=True)
class _Announced:
    plugins: tuple[Entry, ...]
    packages: tuple[str, ...]


@lru_cache(maxsize=4)
def _announced(path: tuple[str, ...]) -> _Announced:
    points = list(_entry_points.read((PLUGINS, CONF), path))
    plugins = [Entry(point.name, point.target, point.distribution) for point in points if point.group == PLUGINS]
    packages = {point.name: point.target for point in points if point.group == CONF}
    return _Announced(
        plugins=tuple(sorted(plugins, key=lambda entry: (entry.key, entry.distribution))),
        packages=tuple(packages[name] for name in sorted(packages)),
    )


def _declaration(entry: Entry) -> "type[Plugin]":
    from steelyard.plugin import Plugin

    module, _, name = entry.target.partition(":")
    where = f"{entry.key} of {entry.distribution} ({entry.target})"
    try:
        found: Any = getattr(import_module(module), name)
    except Exception as error:  # whatever a stranger's module raises is that plugin's defect
        raise Refused(
            [
                Problem(
                    f"{where} does not import: {type(error).__name__}: {error}",
                    f"pip install --upgrade {entry.distribution}",
                    party=entry.key,
                )
            ]
        ) from error
    if not (isinstance(found, type) and issubclass(found, Plugin)):
        message = f"{where} is no subclass of steelyard.Plugin"
        raise refuse(message, fix=f"pip install --upgrade {entry.distribution}", party=entry.key)
    return found


def _is_installed(module: str) -> bool:
    if module in sys.modules:
        return True
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False
