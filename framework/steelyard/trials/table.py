"""sweep.csv: one row per trial, also for those that failed."""

import csv
import io
from collections.abc import Sequence

from steelyard.measurement import Measurement, Status
from steelyard.trials.reading import Trial, setting


def as_csv(trials: Sequence[Trial], keys: Sequence[str]) -> bytes:
    """The table as UTF-8.

    Columns: trial, state, reason, seed, the keys that differ, then every scalar measurement with `.low` and `.high`
    where a trial gives an interval and `.status` where a trial did not measure it. An empty cell was not measured.
    """
    scalars = [_scalars(trial) for trial in trials]
    names = list(dict.fromkeys(name for found in scalars for name in found))
    head = ["trial", "state", "reason", "seed", *keys]
    columns: list[str] = []
    for name in names:
        items = [found[name] for found in scalars if name in found]
        columns.append(name)
        columns += [f"{name}.{end}" for end in ("low", "high") if any(item.interval for item in items)]
        columns += [f"{name}.status"] if any(item.status is not Status.MEASURED for item in items) else []
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*head, *columns])
    for trial, found in zip(trials, scalars, strict=True):
        chosen = [setting(trial, key) for key in keys]
        seed = "" if trial.seed is None else trial.seed
        writer.writerow([trial.name, trial.state, trial.reason, seed, *chosen, *_cells(columns, found)])
    return text.getvalue().encode()


def _scalars(trial: Trial) -> dict[str, Measurement]:
    """Measurements that are no points of a curve."""
    if trial.scorecard is None:
        return {}
    return {item.name: item for item in trial.scorecard.measurements() if not item.at}


def _cells(columns: Sequence[str], found: dict[str, Measurement]) -> list[str]:
    cells = {column: "" for column in columns}
    for name, item in found.items():
        cells[name] = "" if item.value is None else repr(float(item.value))
        if item.interval is not None:
            cells[f"{name}.low"], cells[f"{name}.high"] = (repr(float(end)) for end in item.interval)
        if f"{name}.status" in cells:
            cells[f"{name}.status"] = item.status.value
    return [cells[column] for column in columns]
