"""`steelyard plugins list | show NAME | new NAME | check MODULE:CLASS`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from steelyard import registry
from steelyard.cli import _console
from steelyard.cli._main import Exit
from steelyard.cli._verbs import VERBS
from steelyard.problem import Refused, refuse
from steelyard.registry import Entry, did_you_mean


def parser() -> argparse.ArgumentParser:
    """The parser of this verb."""
    made = argparse.ArgumentParser("steelyard plugins", description=VERBS["plugins"].help, allow_abbrev=False)
    actions = made.add_subparsers(dest="action", required=True, metavar="list|show|new|check")
    actions.add_parser("list", help="every plugin that is installed, broken ones with their error")
    show = actions.add_parser("show", help="a plugin's settings")
    show.add_argument("name", metavar="NAME", help="challenge.plugin, or the plugin alone")
    new = actions.add_parser("new", help="write an installable package with one plugin")
    new.add_argument("name", metavar="NAME", help="challenge.plugin")
    new.add_argument("--folder", type=Path, default=Path(), help="where the package's folder is made")
    check = actions.add_parser("check", help="put a plugin through the conformance suite")
    check.add_argument("target", metavar="MODULE:CLASS", help="the declaration")
    return made


def main(verb: str, words: Sequence[str]) -> int:
    """Runs the verb and gives the exit code."""
    del verb
    found = parser().parse_args(list(words))
    match found.action:
        case "list":
            return _list()
        case "show":
            return _show(found.name)
        case "new":
            return _new(found.name, found.folder)
        case _:
            return _check(found.target)


def _list() -> int:
    entries = registry.entries()
    width = max((len(entry.key) for entry in entries), default=0)
    for entry in entries:
        fault = _fault(entry)
        says = f"broken: {fault}" if fault else _summary(entry)
        _console.write(f"{entry.key:<{width}}  {says}  ({entry.distribution})")
    if not entries:
        _console.write("no plugins are installed")
    return Exit.DONE


def _summary(entry: Entry) -> str:
    return (registry.load(entry.key).__doc__ or "").strip().partition("\n")[0]


def _fault(entry: Entry) -> str | None:
    """Why the plugin could not be selected, in one line."""
    if not registry.is_well_formed(entry.key):
        return f"the entry point must be called <challenge>.<plugin>, in lower case; it is called {entry.key}"
    try:
        cls = registry.load(entry.key)
    except Refused as refused:
        return " ".join(refused.problems[0].message.split())
    lacking = list(registry.missing(cls, key=entry.key))
    return f"{lacking[0].message}; {lacking[0].fix}" if lacking else None


def _show(name: str) -> int:
    from steelyard.schema import describe

    key = _key(name)
    cls = registry.load(key)
    entry = next(entry for entry in registry.entries() if entry.key == key)
    _console.write(f"{key}  ({entry.distribution}, {entry.target})\n")
    _console.write((cls.__doc__ or "").strip())
    _console.write("")
    for label, seams in (("owns", cls.owns), ("shares", cls.shares)):
        if seams:
            _console.write(f"{label}: {', '.join(sorted(seams))}")
    rows = describe(cls)
    cells = [
        (
            f"{key}.{row.path}={row.default}",
            row.type,
            " ".join(part for part in (row.range, row.unit) if part),
            row.help,
        )
        for row in rows
    ]
    widths = [max((len(cell[at]) for cell in cells), default=0) for at in range(3)]
    for setting, kind, limits, meaning in cells:
        _console.write(f"  {setting:<{widths[0]}}  {kind:<{widths[1]}}  {limits:<{widths[2]}}  {meaning}".rstrip())
    lacking = list(registry.missing(cls, key=key))
    for problem in lacking:
        _console.write(f"\n{problem.message}: {problem.fix}")
    return Exit.DONE


def _key(name: str) -> str:
    keys = sorted({entry.key for entry in registry.entries()})
    found = [key for key in keys if name in (key, key.partition(".")[2])]
    if len(found) == 1:
        return found[0]
    if found:
        raise refuse(f"{name} may be {' or '.join(found)}", fix=f"steelyard plugins show {found[0]}")
    hint = did_you_mean(name, [*keys, *(key.partition(".")[2] for key in keys)])
    raise refuse(f"no plugin is called {name}{hint}", fix="steelyard plugins list")


def _new(name: str, folder: Path) -> int:
    if not registry.is_well_formed(name):
        raise refuse(f"{name} is no name of a plugin", fix="steelyard plugins new stability.my_plugin")
    from steelyard import scaffold

    made = scaffold.new(name, folder)
    _console.write(str(made))
    return Exit.DONE


def _check(target: str) -> int:
    from steelyard import testing

    return testing.check(target)
