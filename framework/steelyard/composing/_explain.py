"""Hydra's errors in our words: what is wrong, where, and the override to paste."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

from hydra import compose
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from steelyard import registry
from steelyard._trees import branch
from steelyard.composing import source
from steelyard.composing._words import Word, names, read
from steelyard.composing.source import NONE, PRIMARY
from steelyard.problem import Problem, Refused
from steelyard.registry import did_you_mean, nearest


def explain(error: Exception, words: Iterable[str]) -> Refused:
    """Every problem of the words if they are to blame, else the error itself in plain words.

    Raises:
        Exception: The error, if it is none of Hydra's, OmegaConf's or YAML's: then it is our own defect.
    """
    from steelyard.composing._compose import session

    understood = read(words)
    with session():
        loader = GlobalHydra.instance().config_loader()
        problems = list(_wrong_words(loader, understood))
        if isinstance(error, Refused):
            problems += error.problems
        elif not problems:
            problems.append(_in_our_words(loader, error))
    return Refused(list(dict.fromkeys(problems)))


def _wrong_words(loader: ConfigLoader, words: Sequence[Word]) -> Iterator[Problem]:
    searchpath = [word.text for word in words if word.key == "hydra.searchpath"]
    good: list[Word] = []
    settings: list[Word] = []
    for word in words:
        if word.is_hydra:
            continue
        options = loader.get_group_options(word.key, overrides=searchpath)
        if not options or any(isinstance(value, dict) for value in word.values):
            settings.append(word)
            continue
        wrong = list(_wrong_choice(word, options))
        yield from wrong
        if not wrong and not word.sweeps:
            good.append(word)
    plain = [word for word in settings if not word.adds and not word.deletes]
    base = _base(good, searchpath, {word.key.partition(".")[0] for word in plain}) if plain else None
    if base is not None:
        yield from (problem for word in plain for problem in _wrong_path(word, base))


def _wrong_choice(word: Word, options: Sequence[str]) -> Iterator[Problem]:
    if word.deletes:
        return
    group = word.key
    if word.adds:
        yield Problem(f"{word.text}: {group} is in the config already, without a +", word.text.lstrip("+"))
        return
    for value in word.values:
        if value is None:
            fallback = NONE if NONE in options else options[0]
            yield Problem(f"{group}=null chooses nothing: an option of {group} is {fallback}", f"{group}={fallback}")
        for name in names(value):
            if name not in options:
                near = nearest(name, options)
                message = f"{group} has no option {name}{did_you_mean(name, options)}"
                if near is None:
                    message += f"; it has {', '.join(options)}"
                yield Problem(message, word.text.replace(name, near) if near else f"{group}={options[0]}")


def _wrong_path(word: Word, base: Mapping[str, Any]) -> Iterator[Problem]:
    node: Any = base
    parts = word.key.split(".")
    for depth, part in enumerate(parts):
        where = ".".join(parts[:depth])
        if depth and (parts[0] in registry.challenges() or node == {}):
            return  # an open node: the core checks it
        known = branch(node) or {}
        if part not in known:
            near = nearest(part, known)
            place = f"{where} has no field {part}" if where else f"the config has no key {part}"
            others = f"; it has {', '.join(known)}" if where and known else ""
            fixed = ".".join([*parts[:depth], near, *parts[depth + 1 :]]) if near else ""
            fix = word.text.replace(word.key, fixed, 1) if near else f"+{word.text}"
            yield Problem(f"{place}{did_you_mean(part, known) or others}", fix)
            return
        node = known[part]


def _base(good: Sequence[Word], searchpath: Sequence[str], asked: Set[str]) -> dict[str, Any] | None:
    """The config that the right words compose, with the groups that are asked for; the others hold their name alone."""
    groups = source.groups()
    # An experiment may choose in any group, so then all of them are composed.
    aside = [group for group in groups if group not in asked] if all(one.key != "experiment" for one in good) else []
    kept = [word.text for word in good if word.key not in aside]
    if not asked & {*groups, *source.roots()}:
        return dict.fromkeys((*groups, *source.roots()))
    try:
        config = compose(PRIMARY, overrides=[*searchpath, *kept, *(f"~{group}" for group in aside)])
    except (HydraException, OmegaConfBaseException, Refused):
        return None
    return {**dict.fromkeys(aside), **(branch(OmegaConf.to_container(config, resolve=False)) or {})}


def _in_our_words(loader: ConfigLoader, error: Exception) -> Problem:
    import yaml

    if isinstance(error, MissingConfigException):
        return _missing(loader, error)
    if isinstance(error, yaml.YAMLError):
        return Problem(f"a config file is no YAML: {' '.join(str(error).split())}")
    if isinstance(error, HydraException | OmegaConfBaseException | ValueError):
        cause = error.__cause__
        lines = [line.strip() for part in (error, cause) if part is not None for line in str(part).splitlines()]
        return Problem("; ".join(dict.fromkeys(line for line in lines[:4] if line)) or type(error).__name__)
    raise error


def _missing(loader: ConfigLoader, error: MissingConfigException) -> Problem:
    path = str(error.missing_cfg_file or "")
    group, _, name = path.rpartition("/")
    options = list(error.options or (loader.get_group_options(group) if group else []))
    asked = re.match(r"In '([^']+)'", str(error))
    where = f"{asked[1]} asks for {path}: " if asked and asked[1] != PRIMARY else ""
    near = nearest(name, options)
    known = did_you_mean(name, options) or (f"; it has {', '.join(options)}" if options else "")
    return Problem(f"{where}{group or 'the config'} has no option {name}{known}", f"{group}={near}" if near else "")
