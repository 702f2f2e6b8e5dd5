"""Runs that a plugin asks for beside the one that was typed: they become one sweep."""

from omegaconf import OmegaConf

from steelyard import spec
from steelyard.composing import Composed
from steelyard.problem import refuse
from steelyard.selection import plugins_of


def siblings(composed: Composed) -> tuple[str, ...]:
    """The words of a sweep over the run and its siblings; empty where no plugin asks for any.

    Raises:
        Refused: If siblings differ in more than one setting, which no sweep over values makes.
    """
    config, values = spec.plain(composed.config), dict[str, list[str]]()
    for choice in plugins_of(composed.config):
        for overrides in choice.plugin.trials(config):
            for word in overrides:
                key, _, value = word.partition("=")
                values.setdefault(key, []).append(value)
            if len(values) > 1 or len(overrides) != 1:
                raise refuse(
                    f"its siblings differ in several settings: {' '.join(overrides)}",
                    fix=f"-m {' '.join(overrides)}",
                    party=choice.key,
                )
    words = composed.overrides
    for key, found in values.items():
        every = dict.fromkeys([str(OmegaConf.select(composed.config, key)), *found])
        words = (*(word for word in words if word.partition("=")[0] != key), f"{key}={','.join(every)}")
    return words if values else ()
