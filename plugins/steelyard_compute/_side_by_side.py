"""What several runs took, beside each other: for the page of a sweep."""

from collections.abc import Iterator, Sequence

from steelyard.measurement import Measurement, Table
from steelyard.stored import StoredRun

COST = "compute.cost."
PAIRS = (
    ("memory", "MiB", 1.0, "predicted_memory", "peak_memory"),
    ("FLOPs", "GFLOP", 1e9, "predicted_flops", "train_flops"),
    ("time", "s", 1.0, "predicted_seconds", "train_seconds"),
    ("energy", "J", 1.0, "predicted_energy", "energy"),
)
"""What it is called, its unit, how much that is, and the measurements of `compute.cost` that hold both."""
ROUNDED = "compute.quantize."
FORMATS = (
    ("size", "MiB"),
    ("marks_lost", ""),
    ("changed_decisions", ""),
    ("seconds_per_example", "s"),
    ("time_saved", ""),
)

Cell = str | float | None


def receipts(runs: Sequence[StoredRun]) -> Iterator[Table]:
    """Predicted and actual of every run, and how well it did; nothing where no two runs were predicted."""
    told = [run for run in runs if _of(run, f"{COST}predicted_memory") or _of(run, f"{COST}predicted_seconds")]
    if len(told) < 2:
        return
    score = next((row.name for row in told[0].scorecard.measurements() if row.name.startswith("task.")), None)
    columns, rows = ["run", *([score] if score else [])], list[list[Cell]]()
    for name, unit, *_ in PAIRS:
        columns += [f"{name} predicted [{unit}]", f"{name} actual [{unit}]", f"{name} off by"]
    for label, run in labelled(told):
        row: list[Cell] = [label, *([_value(run, score)] if score else [])]
        for _, _, scale, predicted, actual in PAIRS:
            before, after = _value(run, COST + predicted, scale), _value(run, COST + actual, scale)
            row += [before, after, "" if before is None or not after else f"{before / after - 1:+.0%}"]
        rows.append(row)
    yield Table(name="receipts", title="Predicted and actual, run by run", columns=columns, rows=rows)


def formats(runs: Sequence[StoredRun]) -> Iterator[Table]:
    """The finished models in few bits; nothing where no run has one."""
    rows: list[list[Cell]] = []
    for label, run in labelled(runs):
        by_format: dict[str, dict[str, Cell]] = {}
        for item in run.scorecard.measurements():
            if item.name.startswith(ROUNDED) and "format" in item.at:
                found = by_format.setdefault(str(item.at["format"]), {})
                found[item.name.removeprefix(ROUNDED)] = _short(item.value) if item.stands else item.note
        rows += [[label, kind, *(found.get(name) for name, _ in FORMATS)] for kind, found in by_format.items()]
    if rows:
        units = (f"{name} [{unit}]" if unit else name for name, unit in FORMATS)
        columns = ("run", "format", *(name.replace("_", " ") for name in units))
        yield Table(name="formats", title="The finished models in few bits", columns=columns, rows=rows)


def labelled(runs: Sequence[StoredRun]) -> Iterator[tuple[str, StoredRun]]:
    """Each run with the overrides that not all of them have."""
    words = [[*run.scorecard.overrides] for run in runs]
    shared = set(words[0]).intersection(*words) if words else set[str]()
    for run, own in zip(runs, words, strict=True):
        yield " ".join(word for word in own if word not in shared) or run.folder.name, run


def _of(run: StoredRun, name: str) -> Measurement | None:
    return next((item for item in run.scorecard.measurements() if item.name == name and not item.at), None)


def _value(run: StoredRun, name: str, scale: float = 1.0) -> float | None:
    found = _of(run, name)
    return None if found is None or not found.stands else _short(found.value, scale)


def _short(value: float | None, scale: float = 1.0) -> float | None:
    """Four digits are enough to compare; the scorecards have all."""
    return None if value is None else float(f"{value / scale:.4g}")
