"""The scorecard and the problems of a run as tables in the terminal; plain text when piped."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from steelyard.measurement import Status, by_name
from steelyard.problem import Problem
from steelyard.report.curves import Curve, curve
from steelyard.report.numbers import number
from steelyard.report.rows import Row, once, rows
from steelyard.report.verdict import crowded, sentence, verdict
from steelyard.report.words import coordinate, metric, words
from steelyard.scorecard import Judgement, Scorecard, Section

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

NARROW = 90
"""Columns below which interval, sample count and note move under the value."""
_BARS = "▁▂▃▄▅▆▇█"
STYLES = {"good": "bold green", "bad": "bold red", "open": "bold"}
_STATUS: dict[str, str] = {
    Status.SKIPPED: "yellow",
    Status.FAILED: "red",
    Status.INVALID: "magenta",
    Status.ESTIMATED: "cyan",
}


def print_scorecard(scorecard: Scorecard, *, console: "Console | None" = None) -> None:
    """Prints the verdict, the numbers by challenge and the requirements.

    Args:
        scorecard: What to show.
        console: Where to; None for the standard output, without colours and cuts when it is piped.
    """
    from rich.text import Text

    console = console or terminal()
    says = verdict(scorecard, None)
    console.print()
    console.print(Text(scorecard.title, style="bold"))
    challenge = ""
    for section in scorecard.sections:
        if section.challenge != challenge:
            challenge = section.challenge
            console.print()
            console.print(Text(words(challenge), style="bold cyan"))
        console.print(section_table(section, width=console.width))
    console.print()
    for requirement in scorecard.requirements:
        mark, style = ("✓", "green") if requirement.judgement is Judgement.MET else ("✗", "red")
        console.print(Text.assemble((f"{mark} ", style), sentence(requirement)))
    console.print(Text(says.line, style=STYLES[says.tone]))
    for warning in crowded([scorecard]):
        console.print(Text(warning, style=STYLES["open"]))
    for note in scorecard.notes:
        console.print(Text(f"note: {note}", style="dim"))


def print_problems(problems: Sequence[Problem], *, console: "Console | None" = None) -> None:
    """Prints every problem in one table, with its party and its fix, and the notes below it.

    Args:
        problems: Everything that preflight found.
        console: Where to; None for the standard error stream.
    """
    from rich.table import Table
    from rich.text import Text

    console = console or terminal(stderr=True)
    errors = [problem for problem in problems if problem.level == "error"]
    if errors:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
        for head in ("from", "problem", "fix to paste"):
            table.add_column(head, overflow="fold", min_width=12 if head == "problem" else None)
        for problem in errors:
            table.add_row(
                Text(problem.party or "steelyard", style="bold"),
                Text(problem.message),
                Text(problem.fix or "none", style="green" if problem.fix else "dim"),
            )
        heading = "The run is refused: 1 problem" if len(errors) == 1 else f"The run is refused: {len(errors)} problems"
        console.print(Text(heading, style="bold red"))
        console.print(table)
    for problem in problems:
        if problem.level == "note":
            party = f"{problem.party}: " if problem.party else ""
            fix = f" ({problem.fix})" if problem.fix else ""
            console.print(Text(f"note: {party}{problem.message}{fix}", style="dim"))


def terminal(*, stderr: bool = False) -> "Console":
    """A console; where the output is piped it is wide enough to cut nothing."""
    from rich.console import Console

    console = Console(stderr=stderr, highlight=False)
    return console if console.is_terminal else Console(stderr=stderr, highlight=False, width=max(console.width, 160))


def section_table(section: Section, *, width: int) -> "Table":
    """The numbers of one plugin, for a terminal of so many columns."""
    from rich.table import Table
    from rich.text import Text

    narrow = width < NARROW
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False, pad_edge=False)
    table.add_column(overflow="fold", min_width=10 if narrow else 30)
    table.add_column(justify="right", overflow="fold", min_width=10)
    table.add_column(overflow="fold")
    state = "" if section.status is Status.MEASURED else f" {section.status}"
    plugin = section.key.partition(".")[2]
    if plugin:
        table.add_row(Text.assemble(f"  {plugin}", (state, _STATUS.get(section.status, ""))))
    groups = [(group, curve(group)) for group in by_name(section.measurements).values()]
    scalars = once(
        shown
        for group, found in groups
        for shown in rows([item for item in group if not found or item not in found.measurements], section.key)
    )
    indent = "    " if plugin else "  "
    lead = [(len(indent + shown.label), len(_value(shown))) for shown in scalars]
    room = width - max([30, *(label for label, _ in lead)]) - max([10, *(value for _, value in lead)]) - 4
    for group, found in groups:
        for shown in scalars:
            if shown.name == group[0].name:
                rest = _rest(shown, narrow=narrow, room=room)
                table.add_row(Text(indent + shown.label), _value(shown), Text(rest, style="dim"))
        if found:
            _add_curve(table, found, section.key)
    if section.error:
        table.add_row(Text(f"    {section.error.strip().splitlines()[-1]}", style="red"))
    return table


def _add_curve(table: "Table", found: Curve, key: str) -> None:
    """One line per branch: where it goes, drawn as small bars, and over which coordinate."""
    from rich.text import Text

    for label, branch in found.branches.items():
        values = [item.value for item in branch if item.value is not None]
        title = ", ".join(part for part in (words(metric(found.name, key)), label) if part)
        ends = f"{number(values[0])} to {number(values[-1])}"
        low, high = (coordinate(branch[place].at[found.across]) for place in (0, -1))
        over = f"{_bars(values)}  over {found.across.replace('_', ' ')} {low} to {high}"
        table.add_row(Text(f"    {title}"), Text(ends), Text(over, style="dim"))


def _bars(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    step = (high - low) / (len(_BARS) - 1) or 1.0
    return "".join(_BARS[round((value - low) / step)] for value in values)


def _value(shown: Row) -> "Text":
    from rich.text import Text

    if shown.shown is None:
        return Text(shown.status, style=_STATUS[shown.status])
    value = Text.assemble((shown.shown.full, "bold"), f" {shown.arrow}" if shown.arrow else "")
    return value if not shown.status else Text.assemble(value, (f" {shown.status}", _STATUS[shown.status]))


def _rest(shown: Row, *, narrow: bool, room: int) -> str:
    """What stands behind the value; what it means only where that leaves it on one line."""
    interval = f"[{shown.shown.range}]" if shown.shown and shown.shown.interval else ""
    # The first clause: the page has the rest.
    note = shown.note if shown.status else "" if narrow else shown.note.partition(";")[0]
    rest = "  ".join(part for part in (interval, shown.population, note) if part)
    full = "  ".join(part for part in (interval, shown.population, shown.meaning, note) if part)
    return full if not narrow and not shown.status and len(full) <= room else rest
