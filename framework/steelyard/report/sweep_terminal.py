"""The table of a sweep in the terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from steelyard.measurement import Status
from steelyard.report.measures import Measure, joined, measures, section_keys
from steelyard.report.story import story
from steelyard.report.sweep_page import glance, headlines
from steelyard.report.sweep_verdict import sweep_verdict
from steelyard.report.terminal import STYLES, section_table, terminal
from steelyard.report.words import words
from steelyard.scorecard import Section
from steelyard.trials.folding import Group
from steelyard.trials.step_costs import step_costs

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from steelyard.sweep import SweepSummary

MOST_COLUMNS = 6
"""Groups beside each other; with more, the terminal shows the first ones and the page all."""
MOST_ROWS = 24
"""Numbers of a plugin over all trials together, in the same way."""


def print_sweep(summary: "SweepSummary", *, console: "Console | None" = None) -> None:
    """Prints the groups side by side, the verdict, and where the page is.

    Args:
        summary: What `finish` or `compare` returned.
        console: Where to; None for the standard output.
    """
    from rich.text import Text

    console = console or terminal()
    console.print()
    if any(trial.scorecard for trial in summary.trials):
        console.print(_table(summary))
    if len(summary.groups) > MOST_COLUMNS:
        console.print(Text(f"{len(summary.groups) - MOST_COLUMNS} more groups on the page", style="dim"))
    told = [item for item in summary.said if item.measurements]
    if told:
        console.print()
        console.print(Text("Over all trials together", style="bold cyan"))
    for item in told:
        section = Section(key=item.key, status=Status.MEASURED, measurements=item.measurements[:MOST_ROWS])
        console.print(section_table(section, width=console.width))
        if len(item.measurements) > MOST_ROWS:
            console.print(Text(f"    {len(item.measurements) - MOST_ROWS} more numbers on the page", style="dim"))
    says = sweep_verdict(summary)
    sections = _sections(summary.groups)
    for sentence in story(summary.groups, [item for section in sections.values() for item in glance(section)]):
        console.print(Text(sentence))
    for cost in step_costs(summary.groups):
        times = f"{cost.name} takes {cost.ratio:.2f} times as long ({cost.having} against {cost.lacking})"
        console.print(Text(f"{', '.join(cost.plugins)}: {times}"))
    console.print(Text(says.line, style=STYLES[says.tone]))
    for detail in says.details:
        console.print(Text(f"  {detail}", style="dim"))
    console.print(Text.assemble(("page   ", "dim"), str(summary.page)), soft_wrap=True)
    console.print(Text.assemble(("table  ", "dim"), str(summary.table)), soft_wrap=True)


def _table(summary: "SweepSummary") -> "Table":
    from rich.table import Table
    from rich.text import Text

    groups = summary.groups[:MOST_COLUMNS]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    table.add_column("", overflow="fold", min_width=18)
    for group in groups:
        table.add_column(Text(group.label), justify="right", overflow="fold")
    table.add_column("", overflow="fold", style="dim")
    found = _sections(groups)
    for challenge in dict.fromkeys(key.partition(".")[0] for key in found):
        shown = headlines([section for key, section in found.items() if key.partition(".")[0] == challenge])
        if shown:
            table.add_row(Text(words(challenge), style="bold cyan"))
        for measure in shown:
            cells = [
                Text(cell.value or cell.missing.partition(":")[0], style="" if cell.value else "dim")
                for cell in measure.cells
            ]
            table.add_row(_name(measure), *cells, Text(measure.standing.words))
    return table


def _sections(groups: Sequence[Group]) -> dict[str, list[Measure]]:
    return joined(groups, {key: measures(groups, key) for key in section_keys(groups)})


def _name(measure: Measure) -> "Text":
    from rich.text import Text

    plugin = f"{measure.plugin} " if measure.plugin else ""
    return Text.assemble("  ", (plugin, "dim"), measure.label, (f" {measure.arrow}", "dim"))
