"""Training a row in a process of its own, and reading what it came to."""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from score_table import Figure, Row, measurement

# Weighing on the challenges takes its own time and changes nothing in training.
QUICK = (
    "interpretability=none",
    "privacy=none",
    "stability=none",
    "compute=cost",
    "checkpoints=none",
    "trainer.enable_progress_bar=false",
)


def train(row: Row) -> Figure:
    """Trains the row, one seed after the other.

    Raises:
        RuntimeError: If a run fails.
    """
    found = [_train(row, seed) for seed in row.seeds]
    values = [value for value, _, _, _ in found]
    value, low, high, seconds = found[0]
    if len(values) > 1:
        from torch import tensor

        from steelyard.statistics import mean_interval

        value, (low, high) = mean_interval(tensor(values))
        seconds = statistics.mean(took for *_, took in found)
    return Figure(value=value, low=low, high=high, seconds=seconds, machine=machine(), seeds=len(row.seeds))


def _train(row: Row, seed: int) -> tuple[float, float | None, float | None, float]:
    with tempfile.TemporaryDirectory() as folder:
        words = [*row.words, f"seed={seed}", *(word for word in QUICK if word.split("=")[0] not in _given(row))]
        done = subprocess.run(
            [sys.executable, "-m", "steelyard", "run", *words], cwd=folder, capture_output=True, text=True
        )
        # 1 is a requirement that was not met: the score says so, too.
        if done.returncode not in (0, 1):
            raise RuntimeError(f"{row.name} ended with {done.returncode}: {done.stderr[-2000:]}")
        (place,) = Path(folder).glob("outputs/*/scorecard.json")
        scorecard = json.loads(place.read_text())
    score = measurement(scorecard, row.metric)
    low, high = score["interval"] or (None, None)
    took = measurement(scorecard, "compute.cost.train_seconds")["value"]
    return float(score["value"]), low, high, float(took)


def _given(row: Row) -> set[str]:
    return {word.split("=")[0] for word in row.words}


def machine() -> str:
    """How many cores of which processor there were."""
    asked = os.environ.get("OMP_NUM_THREADS")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    kind = next(
        (
            line.partition(":")[2].strip()
            for line in (Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else "").splitlines()
            if line.startswith("model name")
        ),
        platform.processor() or platform.machine(),
    )
    threads = int(asked) if asked and asked.isdigit() else cores
    return f"{min(threads, cores)} of {cores} cores, {kind}"
