"""What a sweep found, in a few sentences: read off the rows of the glance table, by the rules of the table."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from steelyard.report.measures import Cell, Measure
from steelyard.report.standing import Kind
from steelyard.report.words import inside, listing
from steelyard.trials.folding import PLAIN, Group


def story(groups: Sequence[Group], glance: Sequence[Measure]) -> list[str]:
    """Who differs from whom in what, what cannot be told apart, and what only some have."""
    if len(groups) < 2:
        return []
    glance = _named(glance)
    sentences = _of_two(groups, glance) if len(groups) == 2 else _of_many(glance)
    return [*sentences, *_alike(glance), *_alone(glance)]


def _named(glance: Sequence[Measure]) -> list[Measure]:
    """The rows under names that tell them apart: that of the plugin stands behind a label that occurs twice."""
    often = Counter(item.label for item in glance)
    return [replace(item, label=f"{item.label} ({item.plugin})") if often[item.label] > 1 else item for item in glance]


def _of_two(groups: Sequence[Group], glance: Sequence[Measure]) -> Iterator[str]:
    """The second group against the first; one that adds nothing stands as the first, wherever it is."""
    base = next((place for place, group in enumerate(groups) if group.label == PLAIN), 0)
    other = 1 - base
    found = [item for item in glance if item.standing.kind is Kind.BEST]
    if found:
        parts = [_change(item, item.cells[base], item.cells[other]) for item in found]
        yield f"{groups[other].label} against {groups[base].label}: {listing(parts)}."


def _change(item: Measure, base: Cell, other: Cell) -> str:
    verdict = "better" if item.standing.leader == other.label else "worse"
    doubt = ", by chance perhaps" if item.standing.doubtful else ""
    return f"{_name(item)} {other.value} instead of {base.value} ({verdict}{doubt})"


def _of_many(glance: Sequence[Measure]) -> Iterator[str]:
    led: dict[str, list[str]] = {}
    for item in glance:
        if item.standing.kind is Kind.BEST:
            doubt = " (by chance perhaps)" if item.standing.doubtful else ""
            led.setdefault(item.standing.leader, []).append(_name(item) + doubt)
    for leader, names in led.items():
        yield f"{leader} is best at {listing(names)}."
    shared = [_name(item) for item in glance if item.standing.kind is Kind.SHARED]
    if shared:
        yield f"Several share the lead at {listing(shared)}: chance could order them."


def _alike(glance: Sequence[Measure]) -> Iterator[str]:
    for kind, said in ((Kind.NOT_TOLD_APART, "Not told apart"), (Kind.EQUAL, "Equal")):
        names = [_name(item) for item in glance if item.standing.kind is kind]
        if names:
            yield f"{said}: {listing(names)}."


def _alone(glance: Sequence[Measure]) -> Iterator[str]:
    """What one group alone could measure, so that there is nothing to compare."""
    for item in glance:
        having = [cell for cell in item.cells if cell.value]
        if len(having) == 1 < len(item.cells):
            yield f"Only {having[0].label} has {_name(item)}: {having[0].value}."


def _name(item: Measure) -> str:
    return inside(item.label)
