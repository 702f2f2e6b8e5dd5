"""Methods x measures, for the report."""

from collections.abc import Iterable, Mapping

from torch import Tensor

from steelyard.measurement import Measurement, Status, Table
from steelyard.runs import Run
from steelyard_interpretability._captions import spoken
from steelyard_interpretability._explain import Study
from steelyard_interpretability._kept_units import COLUMNS, LAYOUT, SIDES, TABLE, word
from steelyard_interpretability._samples import SPLIT
from steelyard_interpretability.methods.grouping import grid, group_of
from steelyard_interpretability.methods.registry import METHODS


def by_method(measurements: Iterable[Measurement], *, refused: Mapping[str, str]) -> Table:
    """One row for each measure that is a single number for a method, one column for each method.

    An invalid number stands with the mark "invalid", what was not measured is empty, and a refused method says why.

    Args:
        measurements: Those whose place is a method and nothing else.
        refused: Method -> reason.
    """
    cells: dict[str, dict[str, str | float | None]] = {}
    methods: dict[str, None] = {}
    for item in measurements:
        if [*item.at] != ["method"]:
            continue
        methods[str(item.at["method"])] = None
        if item.value is None:
            continue
        value = round(item.value, 4)
        line = cells.setdefault(item.name, {})
        line[str(item.at["method"])] = f"{value:g} (invalid)" if item.status is Status.INVALID else value
    rows = [[name.replace("_", " "), *(line.get(method) for method in methods)] for name, line in cells.items()]
    last = [refused.get(method) or METHODS[method].bias for method in methods]
    return Table(
        name="methods",
        title="Methods of explanation on the same examples",
        columns=["measure", *(spoken(method) for method in methods)],
        rows=[*rows, ["refused because, or what to keep in mind", *last]],
        split=SPLIT,
    )


def by_part(run: Run, found: Study) -> Table:
    """What each part of each explained example is worth, for `steelyard compare`; more than 64 units are put together.

    Args:
        run: Whose adapter tells units and decisions.
        found: The explanations.
    """
    group = group_of(run.adapter.features(found.samples.inputs)).cpu()
    there = _summed(found.common.present.double(), group) > 0
    worth = {name: _summed(judged.units.double(), group) for name, judged in found.judged.items()}
    rows: list[list[str | float]] = []
    for row, decision in enumerate(found.common.decisions):
        told = word(run.adapter.scoring.said(decision))
        parts = [int(part) for part in there[row].nonzero()[:, 0]]
        for name, values in worth.items():
            rows += [
                [found.samples.numbers[row], told, name, part, float(f"{float(values[row, part]):.5g}")]
                for part in parts
            ]
    return Table(
        name=TABLE,
        title="What each part of the explained examples is worth, for comparing runs",
        columns=COLUMNS,
        rows=rows,
        split=SPLIT,
        shown=False,
    )


def by_layout(run: Run, found: Study) -> Table | None:
    """The grid that the parts of `by_part` form, for pictures of several runs; None where they form none."""
    units = run.adapter.features(found.samples.inputs)
    sides = grid(units)
    if len(sides) != 2:
        return None
    groups = group_of(units).view(sides)
    height, width = (len({int(group) for group in line}) for line in (groups[:, 0], groups[0]))
    return Table(
        name=LAYOUT,
        title="The grid of the parts, for comparing runs",
        columns=SIDES,
        rows=[[height, width]],
        shown=False,
    )


def _summed(values: Tensor, group: Tensor) -> Tensor:
    """(N, K) -> (N, groups)."""
    return values.new_zeros(len(values), int(group.max()) + 1).index_add_(1, group, values)
