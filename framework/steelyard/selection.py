"""The plugins that a config selects, built and checked."""

from dataclasses import dataclass

from omegaconf import DictConfig

from steelyard import registry
from steelyard._trees import branch
from steelyard.plugin import Plugin
from steelyard.problem import Problem, Refused
from steelyard.schema import attempt


@dataclass(frozen=True, slots=True)
class Selected:
    """One selected plugin.

    Attributes:
        key: `<challenge>.<plugin>`.
        plugin: The declaration.
    """

    key: str
    plugin: Plugin


def plugins_of(config: DictConfig) -> tuple[Selected, ...]:
    """Every plugin below the challenges of a composed config, by key; needs no Hydra.

    Raises:
        Refused: With all problems: unknown or broken plugins, packages that are missing, fields that do not fit.
    """
    selected: list[Selected] = []
    problems: list[Problem] = []
    for challenge in registry.challenges():
        for name in sorted(branch(config.get(challenge)) or {}):
            key = f"{challenge}.{name}"
            try:
                cls = registry.load(key)
            except Refused as refused:
                problems += refused.problems
                continue
            problems += registry.missing(cls, key=key)
            plugin, found = attempt(cls, config[challenge][name], path=key)
            problems += found
            if plugin is not None:
                selected.append(Selected(key, plugin))
    if problems:
        raise Refused(problems)
    return tuple(selected)
