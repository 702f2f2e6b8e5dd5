"""The panel beside a picture, as the page shows it."""

from dataclasses import dataclass

from markupsafe import Markup

from steelyard.panel import Check, Mark, Panel, PanelChart
from steelyard.report import chart
from steelyard.report.numbers import number

SIGNS = {Mark.GOOD: "✓", Mark.DOUBTFUL: "~", Mark.BAD: "✗", Mark.OPEN: "?"}
ALOUD = {Mark.GOOD: "holds", Mark.DOUBTFUL: "doubtful", Mark.BAD: "fails", Mark.OPEN: "not known"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownCheck:
    """A check on the page.

    Attributes:
        name: What is asked.
        mark: Its class.
        sign: At a glance.
        aloud: The sign in words.
        words: The answer.
    """

    name: str
    mark: str
    sign: str
    aloud: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownPanel:
    """A panel on the page.

    Attributes:
        verdict: All in one line.
        checks: One by one.
        charts: (title, drawing, legend).
        facts: (name, text).
    """

    verdict: ShownCheck
    checks: list[ShownCheck]
    charts: list[tuple[str, Markup, list[tuple[Markup, str]]]]
    facts: list[tuple[str, str]]


def panel(stored: Panel | None) -> ShownPanel | None:
    """The panel with its charts drawn."""
    if stored is None:
        return None
    return ShownPanel(
        verdict=_check(stored.verdict),
        checks=[_check(check) for check in stored.checks],
        charts=[_chart(drawn) for drawn in stored.charts],
        facts=[*stored.facts],
    )


def _check(check: Check) -> ShownCheck:
    return ShownCheck(
        name=check.name, mark=check.mark.value, sign=SIGNS[check.mark], aloud=ALOUD[check.mark], words=check.words
    )


def _chart(stored: PanelChart) -> tuple[str, Markup, list[tuple[Markup, str]]]:
    series = tuple(
        chart.Series(
            name=line.name,
            index=index,
            points=tuple(chart.Point(x=x, y=y, tip=f"{line.name}: {number(y)} at {number(x)}") for x, y in line.points),
        )
        for index, line in enumerate(stored.lines)
    )
    drawing = chart.draw(
        chart.Chart(title=stored.title, x_label=stored.x_label, y_label=stored.y_label, series=series, may_log=False)
    )
    return stored.title, drawing, [(chart.key(line.index), line.name) for line in series]
