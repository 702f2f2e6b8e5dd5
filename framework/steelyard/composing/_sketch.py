"""What all jobs of one choice of groups have in common, worked out once: most of their files' text, and how they log.

A job's config is that of its choice but for the settings of its own words, and Hydra's part of it but for the number,
the words and the folder of the job. So only these are worked out for each.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# A config is a tree of anything.

import pickle
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from steelyard.composing._yaml import head_of, part_below, to_yaml, values_below

_HYDRA = "hydra"
_OWN = {"job": ("override_dirname", "id", "num"), "overrides": ("task",), "runtime": ("output_dir",)}
"""Part of `hydra` -> what a job has there for itself."""
_PLAIN = re.compile(r"(?:[^$\\]|\$\{[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*\})*")
_CALLED = re.compile(r"\$\{\s*((?:[\w.]|\$\{[^}]*\})+)\s*:")
"""The name of a function may itself be asked for."""
_STEADY = ("hydra", "now", "python_version")
"""Hydra's own, of which the time is that of the sweep; OmegaConf's begin with `oc.`."""
_ASKED = re.compile(r"\$\{([\w.]+)\}")


@dataclass(frozen=True, slots=True)
class Sketch:
    """Of one composition; to be had from `sketch`.

    Attributes:
        config: Key -> text, without `hydra`.
        hydra: Part of `hydra` -> text, or key -> text where a job has something for itself.
        place: The folder of the sweep, and that of the job in it, with interpolations as text.
        logs: The job's logging as bytes, with interpolations as text; None if it is no plain mapping.
        asked: Where in it these are.
        steady: True if no interpolation calls a function of the application's own, whose answers may differ.
    """

    config: Mapping[Any, str]
    hydra: Mapping[Any, str | Mapping[Any, str]]
    place: tuple[Any, Any]
    logs: bytes | None
    asked: tuple[tuple[Any, ...], ...]
    steady: bool

    def config_text(self, config: DictConfig, changed: frozenset[str] | None) -> str:
        """What `to_yaml` writes of a job's config.

        Args:
            config: Without `hydra`.
            changed: Its keys below which it may differ from the composition; None for all.
        """
        keys = list(config.keys())
        if changed is None or len(keys) < 2:
            return to_yaml(config)
        own = [key for key in keys if key in changed or key not in self.config]
        texts = {key: to_yaml({key: value}) for key, value in _plain(config, own).items()}
        return "".join(texts[key] if key in texts else self.config[key] for key in keys)

    def hydra_text(self, own: DictConfig) -> str:
        """What `to_yaml` writes of a job's `hydra`."""
        lines = [head_of(_HYDRA)]
        for key, known in self.hydra.items():
            if isinstance(known, str):
                lines.append(known)
            else:
                texts = {**known, **values_below(_HYDRA, key, _plain(own[key], _OWN[key]))}
                lines += [part_below(_HYDRA, key, None).removesuffix(" null\n"), "\n", *texts.values()]
        return "".join(lines)

    def folder(self, config: DictConfig) -> Path:
        """Of a job, by its whole config."""
        above, below = self.place
        sweep = config.hydra.sweep
        return Path(_filled(above, config) or str(sweep.dir)) / (_filled(below, config) or str(sweep.subdir))

    def resolved_logs(self, config: DictConfig) -> Any:
        """How a job logs, without interpolations, by its whole config."""
        if self.logs is None:
            return resolved_logs(config.hydra)
        logs = pickle.loads(self.logs)  # noqa: S301 - made here
        for where in self.asked:
            plain = logs
            for key in where[:-1]:
                plain = plain[key]
            text = plain[where[-1]]
            # One on its own leads to a number, or to more.
            filled = None if _ASKED.fullmatch(text) else _filled(text, config)
            plain[where[-1]] = _found(config.hydra.job_logging, where) if filled is None else filled
        return logs


def resolved_logs(own: DictConfig) -> Any:
    """How a job logs, by its `hydra`: plain and without interpolations; None for Hydra's default."""
    return None if own.job_logging is None else OmegaConf.to_container(own.job_logging, resolve=True)


def folder(own: DictConfig) -> Path:
    """Of a job, by its `hydra`."""
    return Path(str(own.sweep.dir)) / str(own.sweep.subdir)


def sketch(composed: DictConfig) -> Sketch:
    """Looks through a composition with `hydra`."""
    plain: Any = OmegaConf.to_container(composed, enum_to_str=True)
    own = plain.pop(_HYDRA)
    with_enums: Any = OmegaConf.to_container(composed.hydra)
    logs = with_enums["job_logging"]
    whole = isinstance(logs, dict)
    called = _CALLED.findall(to_yaml([plain, own]))
    return Sketch(
        config={key: to_yaml({key: value}) for key, value in plain.items()},
        hydra={
            key: values_below(_HYDRA, key, value) if key in _OWN else part_below(_HYDRA, key, value)
            for key, value in own.items()
        },
        steady=all(name.startswith("oc.") or name in _STEADY for name in called),
        place=(own["sweep"]["dir"], own["sweep"]["subdir"]),
        logs=pickle.dumps(logs) if whole else None,
        asked=tuple(_asked(logs)) if whole else (),
    )


def _plain(config: DictConfig, keys: Any) -> dict[Any, Any]:
    """What lies below these keys, with interpolations as text."""
    plain: dict[Any, Any] = {}
    for key in keys:
        # A copy of the part takes several times longer; but to ask for an interpolation is to follow it.
        if OmegaConf.is_interpolation(config, key) or OmegaConf.is_missing(config, key):
            alone: Any = OmegaConf.to_container(OmegaConf.masked_copy(config, [key]), enum_to_str=True)
            plain[key] = alone[key]
        else:
            value = config[key]
            own = OmegaConf.is_config(value)
            plain[key] = OmegaConf.to_container(value, enum_to_str=True) if own else _as_text(value)
    return plain


def _as_text(value: Any) -> Any:
    """As `to_container` with `enum_to_str`."""
    return value.name if isinstance(value, Enum) else value


def _asked(node: Any, where: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a text is that OmegaConf would look into."""
    if isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _asked(value, (*where, key))
    elif isinstance(node, str) and "${" in node:
        yield where


def _found(node: Any, where: tuple[Any, ...]) -> Any:
    for key in where:
        node = node[key]
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def _filled(text: Any, config: DictConfig) -> str | None:
    """A text with what its interpolations lead to, as OmegaConf fills it in; None if that is for OmegaConf itself.

    It reads each text by a grammar, which takes longer than all the rest where the text only names texts and numbers.
    """
    if not isinstance(text, str) or text == "???" or not _PLAIN.fullmatch(text):
        return None
    values = {path: OmegaConf.select(config, path) for path in _ASKED.findall(text)}
    if not all(type(value) in (str, int) for value in values.values()):
        return None
    return _ASKED.sub(lambda found: str(values[found[1]]), text)
