"""A run's own config as the start of another run."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from steelyard import registry, spec
from steelyard.composing import source
from steelyard.composing._compose import Composed, compose
from steelyard.composing._words import Word, read
from steelyard.problem import Problem, Refused, refuse
from steelyard.registry import did_you_mean

KEY = "config="


def stored(path: Path, words: Sequence[str]) -> Composed:
    """The config of a run again, as it is, but for the values that the words set.

    Args:
        path: `config.yaml` of a run folder, from either door.
        words: `KEY=VALUE`; no groups, since nothing is composed.

    Raises:
        Refused: If the file is none, holds a masked secret, or a word does not fit.
    """
    try:
        config = OmegaConf.load(path)
    except (OSError, OmegaConfBaseException) as error:
        raise refuse(f"{path} cannot be read: {error}", fix="config=outputs/RUN/config.yaml") from error
    if not isinstance(config, DictConfig) or "task" not in config:
        raise refuse(f"{path} is no config of a run", fix="config=outputs/RUN/config.yaml")
    understood = read(words)
    problems = [*_problems(config, understood)]
    if problems:
        raise Refused(problems)
    for word in understood:
        OmegaConf.update(config, word.key, word.values[0], force_add=word.adds)
    hidden = spec.masked_paths(spec.plain(config))
    if hidden:
        raise refuse(f"{hidden[0]} is a secret and was not kept", fix=f"{hidden[0]}='${{oc.env:MY_SECRET}}'")
    plain = compose()
    return Composed(
        config=config,
        choices=_choices(path, config),
        overrides=(f"{KEY}{path}", *words),
        notes=(),
        hydra=plain.hydra,
        sweep=plain.sweep,
    )


def _problems(config: DictConfig, words: Sequence[Word]) -> Iterator[Problem]:
    for word in words:
        parent, _, name = word.key.rpartition(".")
        node = OmegaConf.select(config, parent, throw_on_missing=False) if parent else config
        known = [str(key) for key in node] if isinstance(node, DictConfig) else []
        if word.sweeps or word.deletes:
            yield Problem(f"{word.text}: beside {KEY} a word gives one value to one key", f"{word.key}=...")
        elif word.key in source.groups():
            yield Problem(
                f"{word.text} chooses a part of a config, and {KEY} brings a whole one", f"{word.key}.NAME=..."
            )
        elif name not in known and not word.adds:
            yield Problem(f"{word.text} sets what is not there{did_you_mean(name, known)}", f"+{word.text}")


def _choices(path: Path, config: DictConfig) -> dict[str, str]:
    """What the run was said to be; without its provenance the classes tell."""
    try:
        return json.loads((path.parent / "provenance.json").read_text(encoding="utf-8"))["choices"]
    except (OSError, KeyError, ValueError):
        tree = spec.plain(config)
        plugins = {challenge: ",".join(tree[challenge]) for challenge in registry.challenges() if tree.get(challenge)}
        return spec.titles(tree) | plugins
