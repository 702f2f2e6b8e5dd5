"""The words behind `steelyard lightning VERB`: config files merged, and what the words change in them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from steelyard import spec
from steelyard.door.translating import Tree, to_lightning
from steelyard.narrowing import is_mapping, is_sequence
from steelyard.problem import refuse


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """What the words ask for.

    Attributes:
        tree: All config files as one, in LightningCLI's keys; blank values left out.
        words: The other words, for jsonargparse.
        blanks: Where the files leave a value to the data: dotted path -> class of that node.
    """

    tree: Tree
    words: tuple[str, ...]
    blanks: Mapping[str, str] = field(default_factory=dict[str, str])


def gathered(words: Sequence[str], *, own: Sequence[str]) -> Gathered:
    """Reads the words.

    A class that replaces another one takes nothing from it, be it in a later file or in a word: jsonargparse would keep
    the options that the new class happens to have, too, such as the weight decay of another optimizer.

    Args:
        words: Behind the verb.
        own: Roots that jsonargparse knows as plain mappings: challenges, `require`.

    Raises:
        Refused: If a config file is missing, or no mapping.
    """
    tree: Tree = {}
    rest: list[str] = []
    for key, value in _pairs(words):
        root, _, below = key.partition(".")
        if key in ("config", "c"):
            tree = merged(tree, _load(value or ""))
        elif root in own:
            _set(tree, root, below, yaml.safe_load(value or ""))
        else:
            rest += [key] if value is None else [f"--{key}={value}"]
            _replace(tree, key, value)
    blanks: dict[str, str] = {}
    return Gathered(tree=_without_blanks(tree, "", "", blanks), words=tuple(rest), blanks=blanks)


def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> Tree:
    """The second over the first; a node of another class replaces the whole node."""
    if "class_path" in one and other.get("class_path", one["class_path"]) != one["class_path"]:
        return dict(other)
    both = dict(one)
    for key, value in other.items():
        before = both.get(key)
        both[key] = merged(before, value) if is_mapping(before) and is_mapping(value) else value
    return both


def blank_again(tree: Tree, blanks: Mapping[str, str]) -> Tree:
    """The same with `???` wherever the files had it, unless a value was given or the class is another one."""
    for path, class_path in blanks.items():
        *steps, name = path.split(".")
        owner: Any = _at(tree, steps[:-1] if class_path else steps)
        if is_mapping(owner) and owner.get("class_path", "") == class_path:
            place: Any = owner
            (place.setdefault("init_args", {}) if class_path else place).setdefault(name, spec.BLANK)
    return tree


def _at(tree: Any, steps: Sequence[str]) -> Any:
    for step in steps:
        if is_mapping(tree):
            tree = tree.get(step)
        elif is_sequence(tree) and int(step) < len(tree):
            tree = tree[int(step)]
        else:
            return None
    return tree


def together(words: Sequence[str]) -> tuple[str, ...]:
    """Each value with its key, as `--key=value`."""
    return tuple(key if value is None else f"--{key}={value}" for key, value in _pairs(words))


def _pairs(words: Sequence[str]) -> list[tuple[str, str | None]]:
    """`--key=value` and `--key value` alike; what is neither comes as it is, with None."""
    found: list[tuple[str, str | None]] = []
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        match = re.fullmatch(r"--?([\w.+]+)(?:=(.*))?", word, re.DOTALL)
        if match is None:
            found.append((word, None))
        elif match[2] is None and at < len(words) and not re.match(r"--?[a-zA-Z]", words[at]):
            found.append((match[1], words[at]))
            at += 1
        else:
            found.append((match[1], match[2]) if match[2] is not None else (word, None))
    return found


def _load(text: str) -> Tree:
    """A file, or YAML itself; a run's config is translated."""
    path = Path(text)
    if "\n" not in text and not path.is_file():
        raise refuse(f"there is no config {text}", fix="--config outputs/RUN/config.yaml")
    try:
        config = OmegaConf.load(path) if "\n" not in text else OmegaConf.create(text)
        tree: Any = OmegaConf.to_container(config, resolve=False)
    except (OmegaConfBaseException, yaml.YAMLError, OSError) as error:
        raise refuse(f"{path.name} cannot be read: {error}") from error
    if not is_mapping(tree):
        raise refuse(f"{path.name} holds no config: keys with values are expected")
    hidden = spec.masked_paths(tree)
    if hidden:
        raise refuse(f"{hidden[0]} is a secret and was not kept", fix=f"{hidden[0]}: ${{oc.env:MY_SECRET}}")
    return to_lightning(tree) if "task" in tree else dict(tree)


def _set(tree: Tree, root: str, below: str, value: Any) -> None:
    """`--root.a.b value`; without a path a name or a list of names selects, and keeps what was said of them."""
    node: Any = tree.setdefault(root, {})
    if not below:
        names = value if is_sequence(value) else [] if value in (None, "none") else [value]
        tree[root] = value if is_mapping(value) else {str(name): node.get(str(name), {}) for name in names}
        return
    *steps, last = below.split(".")
    for step in steps:
        node = node.setdefault(step, {})
    node[last] = value


def _replace(tree: Tree, key: str, value: str | None) -> None:
    """Empties the node at `key` if the word gives it another class."""
    node: Any = tree
    steps = [step for step in key.removesuffix(".class_path").split(".") if step != "init_args"]
    for step in steps:
        node = node.get("init_args", node) if is_mapping(node) else None
        node = node.get(step) if is_mapping(node) else None
    if value is None or not is_mapping(node) or "class_path" not in node:
        return
    given: Any = yaml.safe_load(value)
    path = given.get("class_path") if is_mapping(given) else given
    known = str(node["class_path"])
    if isinstance(path, str) and path != (known if "." in path else known.rpartition(".")[2]):
        assert isinstance(node, dict)
        node.clear()
        node["class_path"] = path


def _without_blanks(value: Any, path: str, class_path: str, blanks: dict[str, str]) -> Any:
    if is_sequence(value):
        return [_without_blanks(item, f"{path}.{at}", "", blanks) for at, item in enumerate(value)]
    if not is_mapping(value):
        return value
    kept: Tree = {}
    for key, item in value.items():
        below = f"{path}.{key}".lstrip(".")
        if item == spec.BLANK:
            blanks[below] = class_path
        else:
            owner = value.get("class_path", "") if key == "init_args" else ""
            kept[key] = _without_blanks(item, below, owner, blanks)
    return kept
