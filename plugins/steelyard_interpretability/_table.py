"""Methods x measures, for the report."""

from collections.abc import Iterable, Mapping

from steelyard.measurement import Measurement, Status, Table
from steelyard_interpretability._samples import SPLIT
from steelyard_interpretability.methods.registry import METHODS


def by_method(measurements: Iterable[Measurement], *, refused: Mapping[str, str]) -> Table:
    """One row for each method, one column for each measure that is a single number for it.

    An invalid number stands with the mark "invalid", what was not measured is empty, and a refused method says why.

    Args:
        measurements: Those whose place is a method and nothing else.
        refused: Method -> reason.
    """
    cells: dict[str, dict[str, str | float | None]] = {}
    columns: dict[str, None] = {}
    for item in measurements:
        if [*item.at] != ["method"]:
            continue
        line = cells.setdefault(str(item.at["method"]), {})
        if item.value is None:
            continue
        columns[item.name] = None
        value = round(item.value, 4)
        line[item.name] = f"{value:g} (invalid)" if item.status is Status.INVALID else value
    rows = [
        [name, *(line.get(column) for column in columns), refused.get(name) or METHODS[name].bias]
        for name, line in cells.items()
    ]
    heads = [name.replace("_", " ") for name in columns]
    return Table(
        name="methods",
        title="Methods of explanation on the same examples",
        columns=["method", *heads, "refused because, or what to keep in mind"],
        rows=rows,
        split=SPLIT,
    )
