"""`steelyard completion bash|zsh|fish`: the script of a shell, and the words it asks for."""

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from steelyard.cli._verbs import VERBS

SCRIPTS = {
    "bash": """_steelyard() {
    local IFS=$'\\n' line="${COMP_LINE:0:$COMP_POINT}"
    COMPREPLY=($(steelyard completion query "$line" 2>/dev/null))
    local word="${line##* }" colon="${COMP_WORDBREAKS//[^=:]/}"
    # bash breaks words at `=`: what stands before it must not be given back.
    if [[ -n "$colon" && "$word" == *=* ]]; then COMPREPLY=("${COMPREPLY[@]#"${word%"${word##*=}"}"}"); fi
    [[ "${COMPREPLY[0]}" == *[=.] ]] && compopt -o nospace
}
complete -o nosort -F _steelyard steelyard
""",
    "zsh": """#compdef steelyard
_steelyard() {
    local -a found
    found=("${(@f)$(steelyard completion query "${BUFFER[1,$CURSOR]}" 2>/dev/null)}")
    compadd -S '' -- "${found[@]}"
}
compdef _steelyard steelyard
""",
    "fish": """complete -c steelyard -f -a '(steelyard completion query (commandline -cp) 2>/dev/null)'
""",
}


def parser() -> argparse.ArgumentParser:
    """The parser of this verb."""
    made = argparse.ArgumentParser(
        "steelyard completion",
        description='print the completion script of a shell: eval "$(steelyard completion bash)"',
        allow_abbrev=False,
    )
    made.add_argument("shell", choices=[*SCRIPTS, "query"], help="query is what the scripts call")
    made.add_argument("line", nargs="?", default="", help="with query: the command line up to the cursor")
    return made


def main(verb: str, words: Sequence[str]) -> int:
    """Prints a script or the completions of a line."""
    del verb
    found = parser().parse_args(list(words))
    if found.shell in SCRIPTS:
        sys.stdout.write(SCRIPTS[found.shell])
        return 0
    sys.stdout.write("".join(f"{word}\n" for word in complete(found.line)))
    return 0


def complete(line: str) -> list[str]:
    """The words that may stand at the end of a command line."""
    words = line.split(" ")
    last, before = words[-1], [word for word in words[1:-1] if word]
    if not before:
        return _fitting(last, VERBS)
    verb = before[0]
    if verb == "plugins":
        return _plugins(before[1:], last)
    if verb == "completion":
        return _fitting(last, SCRIPTS)
    if verb in ("run", "weigh", "plan"):
        from steelyard.cli import _flags

        if last.startswith("-"):
            return _fitting(last, (flag for action in _flags.parser(verb)._actions for flag in action.option_strings))
        return _overrides([word for word in before[1:] if not word.startswith("-")], last)
    return []


def _plugins(before: Sequence[str], last: str) -> list[str]:
    from steelyard import registry

    if not before:
        return _fitting(last, ("list", "show", "new", "check"))
    return _fitting(last, (entry.key for entry in registry.entries())) if before[0] == "show" else []


def _overrides(words: Sequence[str], last: str) -> list[str]:
    from steelyard.composing import compose, options_of
    from steelyard.problem import Refused
    from steelyard.spec import plain

    group, equals, typed = last.partition("=")
    if equals:
        head, bracket, _ = typed.rpartition(",") if "," in typed else ("", "[" if typed.startswith("[") else "", "")
        start = f"{head}{bracket}"
        return _fitting(last, (f"{group}={start}{option}" for option in options_of(group)))
    for known in ([word for word in words if "=" in word], []):
        try:
            composed = compose(*known)
        except Refused:
            continue
        return _fitting(last, [*(f"{group}=" for group in composed.choices), *_paths(plain(composed.config), last)])
    return []


def _paths(tree: dict[str, Any], last: str) -> Iterator[str]:
    """Keys one step below what is typed: `model.` or `model.hidden=`."""
    from steelyard._trees import below, branch

    parent, dot, _ = last.rpartition(".")
    for key, value in (branch(below(tree, parent)) or {}).items():
        yield f"{parent}{dot}{key}{'=' if branch(value) is None else '.'}"


def _fitting(start: str, words: Iterable[str]) -> list[str]:
    return sorted({word for word in words if word.startswith(start)})
