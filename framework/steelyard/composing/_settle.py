"""The rules of selection: what stays in a composed config, what is dropped with a note, and what is refused."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# A config is a tree of anything.

import re
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from steelyard import registry
from steelyard.composing import _rules
from steelyard.composing._catalogue import Raw
from steelyard.composing.source import NONE
from steelyard.problem import Problem, Refused
from steelyard.registry import did_you_mean, nearest
from steelyard.schema import attempt, settings, show, twin
from steelyard.spec import plain

Tree = dict[str, Any]
REFERENCE = re.compile(r"\$\{([A-Za-z_]\w*(?:\.\w+)*)\}")
"""`${a.b}`; what a resolver makes (`${now:...}`) and what is relative is left to OmegaConf."""
MISSING = object()


def settle(raw: Raw, *, elsewhere: frozenset[str] = frozenset()) -> tuple[DictConfig, tuple[str, ...]]:
    """The config of `raw`, with every challenge rebuilt from the registry, and the notes on what was dropped.

    Args:
        raw: One composition.
        elsewhere: Keys of plugins that another trial of the same sweep selects.

    Raises:
        Refused: With all problems.
    """
    tree = plain(raw.config)
    problems = [*_rules.choices(raw), *_rules.roots(raw, tree), *_rules.values(tree)]
    notes: list[str] = []
    rebuilt: Tree = {}
    for challenge, plugins in registry.challenges().items():
        node: Any = tree.get(challenge) or {}
        rebuilt[challenge] = {}
        if not isinstance(node, Mapping):
            problems.append(Problem(f"{challenge} holds settings of plugins, got {show(node)}", f"{challenge}={NONE}"))
            continue
        filled = {key.partition(".")[2] for key in raw.fillers if key.startswith(f"{challenge}.")}
        for name in sorted({*filled, *map(str, node)}):
            key = f"{challenge}.{name}"
            if name not in plugins:
                problems.append(_unknown(raw, key, plugins))
            elif name in filled:
                rebuilt[challenge][name] = _selected(tree, key, problems)
            else:
                note = _unselected(raw, tree, key, elsewhere, problems)
                notes += [note] if note else []
    if problems:
        raise Refused(list(dict.fromkeys(problems)))
    # In place: making a config from plain values takes as long as all the rest.
    config = raw.config
    OmegaConf.set_struct(config, False)
    for challenge, node in rebuilt.items():
        # The text tells 3 from 3.0, and one order of keys from another.
        if challenge not in tree or repr(tree[challenge]) != repr(node):
            config[challenge] = node
    if "${" in str(tree):
        dangling = [*_dangling(raw, config)]
        if dangling:
            raise Refused(dangling)
    return config, tuple(notes)


def _dangling(raw: Raw, config: DictConfig) -> Iterator[Problem]:
    """References to what is not there, such as an option of a plugin that is not selected."""
    for path, text in _texts(plain(config)):
        for name in REFERENCE.findall(text):
            try:
                there = OmegaConf.select(config, name, default=MISSING) is not MISSING
            except OmegaConfBaseException:
                there = True  # it leads further, and is told of there
            if there:
                continue
            challenge, _, rest = name.partition(".")
            plugin = rest.partition(".")[0]
            if plugin in registry.challenges().get(challenge, ()) and plugin not in config[challenge]:
                why = f"{challenge}.{plugin} is not selected"
                yield Problem(
                    f"{path} refers to {name}, and {why}",
                    _rules.selecting(challenge, raw.choices.get(challenge, ()), plugin),
                )
            else:
                yield Problem(f"{path} refers to {name}, which is not there")


def _texts(tree: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every text of a config with its path."""
    if isinstance(tree, str):
        yield path, tree
    elif isinstance(tree, Mapping):
        for name, value in tree.items():
            yield from _texts(value, f"{path}.{name}" if path else str(name))
    elif isinstance(tree, list):
        for place, value in enumerate(tree):
            yield from _texts(value, f"{path}[{place}]")


def _unknown(raw: Raw, key: str, plugins: tuple[str, ...]) -> Problem:
    challenge, _, name = key.partition(".")
    near = nearest(name, plugins)
    typed = next((word for word in raw.words if word.touches(key)), None)
    known = did_you_mean(name, plugins) or f"; it has {', '.join(plugins)}"
    fix = typed.text.replace(key, f"{challenge}.{near}", 1) if typed and near else ""
    return Problem(f"{challenge} has no plugin {name}{known}", fix)


def _selected(tree: Tree, key: str, problems: list[Problem]) -> Tree:
    """The full settings of a selected plugin; what is wrong with them joins the problems."""
    challenge, _, name = key.partition(".")
    given: Any = (tree.get(challenge) or {}).get(name, {})
    if not isinstance(given, Mapping):
        problems.append(Problem(f"{key} holds settings, got {show(given)}", ""))
        return {}
    try:
        cls = registry.load(key)
    except Refused as refused:
        problems += refused.problems
        return {}
    problems += registry.missing(cls, key=key)
    full = {**twin(cls), **given}
    try:
        plugin, found = attempt(cls, _resolved(tree, key, full), path=key)
    except OmegaConfBaseException as error:
        problems.append(Problem(f"{key}: {str(error).splitlines()[0]}"))
        return full
    problems += found
    return full if plugin is None else _canonical(full, settings(plugin))


def _unselected(raw: Raw, tree: Tree, key: str, elsewhere: frozenset[str], problems: list[Problem]) -> str | None:
    """The note on settings that are dropped; what is wrong with them all the same joins the problems."""
    challenge, _, name = key.partition(".")
    typed = next((word for word in raw.words if word.touches(key)), None)
    add = _rules.selecting(challenge, raw.choices.get(challenge, ()), name)
    if typed is not None and key not in elsewhere:
        problems.append(Problem(f"{typed.text} does nothing, since {key} is not selected: add {challenge}={name}", add))
        return None
    try:
        _, found = attempt(registry.load(key), _resolved(tree, key, tree[challenge][name]), path=key, partial=True)
        problems += found
    except (Refused, OmegaConfBaseException):
        pass  # a plugin that is broken stops nobody who does not select it
    return f"{key} is not selected, so its settings are dropped; {add} selects it"


def _resolved(tree: Tree, key: str, given: Any) -> Any:
    """The settings with their interpolations followed, which may point anywhere in the config."""
    if "${" not in str(given):
        return given
    challenge, _, name = key.partition(".")
    whole = OmegaConf.create({**tree, challenge: {**(tree.get(challenge) or {}), name: given}})
    node: Any = OmegaConf.select(whole, key)
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def _canonical(given: Any, made: Any) -> Any:
    """The values as the declaration has them, so that `3` and `3.0` are one spec; interpolations stay text."""
    if isinstance(given, str) and "${" in given:
        return given
    if isinstance(given, Mapping) and isinstance(made, Mapping):
        return {name: _canonical(given[name], value) if name in given else value for name, value in made.items()}
    if isinstance(given, list) and isinstance(made, list) and len(given) == len(made):
        return [_canonical(one, other) for one, other in zip(given, made, strict=True)]
    return made
