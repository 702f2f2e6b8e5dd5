"""The spec of a run: its hash, and its config without secrets."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from steelyard.narrowing import is_mapping, is_sequence

# What changes neither the training nor the numbers.
IRRELEVANT = ("hydra", "paths", "logger", "report", "require", "checkpoints", "sweep", "plan")
SECRET = re.compile(
    r"(^|_)(token|secret|password|passwd|passphrase|credentials?|(api|access|private|secret)_?key)$", re.IGNORECASE
)
MASK = "***"
BLANK = "???"
"""A value that the data knows, or that the user has to give."""


def plain(config: DictConfig) -> dict[str, Any]:
    """The config in plain types; interpolations such as `${oc.env:TOKEN}` or `${now:%H}` stay text."""
    container: Any = OmegaConf.to_container(config, resolve=False, enum_to_str=True)
    return {str(key): value for key, value in container.items()}


def followed(node: Any) -> Any:
    """Plain values, with references inside the config followed; those to the environment stay text."""
    if not OmegaConf.is_config(node):
        return node
    container: Any = OmegaConf.to_container(node, resolve=False, enum_to_str=True)
    return _followed(container, node)


def _followed(container: Any, node: Any) -> Any:
    if is_mapping(container):
        return {str(key): _value(value, node, key) for key, value in container.items()}
    return [_value(value, node, at) for at, value in enumerate(container)]


def _value(value: Any, node: Any, key: Any) -> Any:
    if isinstance(value, str):
        if "${" not in value or ":" in value:
            return value
        try:
            return followed(node[key])
        except OmegaConfBaseException:
            return value
    return _followed(value, node[key]) if is_mapping(value) or is_sequence(value) else value


def masked(value: Any, key: str = "") -> Any:
    """The same tree with `***` for every literal value whose key looks like a secret."""
    if is_mapping(value):
        return {name: masked(item, name) for name, item in value.items()}
    if is_sequence(value):
        return [masked(item, key) for item in value]
    if SECRET.search(key) and value is not None and "${" not in str(value) and value != "???":
        return MASK
    return value


def masked_overrides(overrides: Iterable[str]) -> tuple[str, ...]:
    """The words of the command line, with secrets masked."""
    words: list[str] = []
    for word in overrides:
        key, equals, value = word.partition("=")
        secret = equals and masked(value, key.rpartition(".")[2].lstrip("+~")) == MASK
        words.append(f"{key}={MASK}" if secret else word)
    return tuple(words)


def masked_paths(value: Any, prefix: str = "") -> list[str]:
    """Dotted paths of the values that were masked when the config was written."""
    if is_mapping(value):
        return [path for key, item in value.items() for path in masked_paths(item, f"{prefix}{key}.")]
    return [prefix.rstrip(".")] if value == MASK else []


def spec_hash(config: DictConfig, *, facts: Mapping[str, str] | None = None) -> str:
    """Sixteen hex digits that are equal for equal experiments, whether a value is written or referred to.

    Args:
        config: The composed config.
        facts: What else decides the result: the data's fingerprint, versions of what is selected.
    """
    relevant = {key: value for key, value in masked(followed(config)).items() if key not in IRRELEVANT}
    text = json.dumps([relevant, dict(facts or {})], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def titles(tree: Mapping[str, Any]) -> dict[str, str]:
    """Part of the config -> what it names, for titles where no group was chosen."""
    return {
        name: str(node["_target_"]).rpartition(".")[2]
        for name, node in tree.items()
        if name in ("data", "model", "task") and is_mapping(node) and "_target_" in node
    }
