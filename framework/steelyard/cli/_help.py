"""`steelyard run --help`: flags, groups with their options, and the settings of what is selected."""

import sys
from collections.abc import Iterator

from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType

from steelyard import registry
from steelyard._trees import below, branch
from steelyard.cli import _flags
from steelyard.cli._flags import Flags
from steelyard.cli._verbs import VERBS
from steelyard.composing import Composed, compose, session
from steelyard.composing.source import NONE
from steelyard.schema import describe, show
from steelyard.spec import plain


def print_help(verb: str, flags: Flags) -> int:
    """Prints the help for the config that the words compose."""
    composed = compose(*flags.words, folders=flags.folders)
    parts = [
        f"steelyard {verb} {VERBS[verb].usage}: {VERBS[verb].help}\n",
        "\n".join(_flag_lines(verb)),
        "groups (* chosen now; several plugins of a challenge as a list: privacy=[a,b]):",
        "\n".join(_groups(composed)),
        "settings of the selected plugins:",
        "\n".join(_plugins(composed)) or "  none",
        "everything else (--cfg job prints it as YAML):",
        "\n".join(f"  {line}" for line in _rest(composed)),
    ]
    sys.stdout.write("\n".join(parts) + "\n")
    return 0


def _flag_lines(verb: str) -> Iterator[str]:
    yield _flags.parser(verb).format_help().partition("\n\n")[2]


def _groups(composed: Composed) -> Iterator[str]:
    with session():
        loader = GlobalHydra.instance().config_loader()
        for group, chosen in composed.choices.items():
            options = loader.get_group_options(group, ObjectType.CONFIG)
            marked = [f"{option}*" if option in chosen.split(",") else option for option in options]
            yield f"  {group}={'|'.join(marked)}"


def _plugins(composed: Composed) -> Iterator[str]:
    tree = plain(composed.config)
    for challenge in registry.challenges():
        for name, given in (branch(tree.get(challenge)) or {}).items():
            key = f"{challenge}.{name}"
            cls = registry.load(key)
            yield f"  {key}: {(cls.__doc__ or NONE).strip().partition(chr(10))[0]}"
            for row in describe(cls):
                limits = " ".join(part for part in (row.type, row.range, row.unit) if part)
                yield f"    {key}.{row.path}={show(below(given, row.path))}  ({limits})  {row.help}"


def _rest(composed: Composed) -> Iterator[str]:
    for key, value in plain(composed.config).items():
        if key not in registry.challenges():
            yield from _leaves(key, value)


def _leaves(path: str, value: object) -> Iterator[str]:
    items = branch(value)
    if not items:
        yield f"{path}={show(value)}"
        return
    for key, item in items.items():
        yield from _leaves(f"{path}.{key}", item)
