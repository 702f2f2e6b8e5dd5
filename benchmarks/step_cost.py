"""What a step costs under Steelyard, against the same task under plain Lightning.

Both in one process, interleaved, CPU time, one thread, median of paired ratios. Run: python benchmarks/step_cost.py

Goal: a run without plugins costs at most 1.02 of plain Lightning at 20 ms a step. A plugin that is off is not attached,
so the run without plugins is also the run with all plugins off.
"""

import os
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from statistics import median

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import torch
from pytorch_lightning import Trainer

from helpers import tiny
from steelyard import assembly, training
from steelyard.draft import Draft
from steelyard.selection import Selected, plugins_of

STEPS = 60
PAIRS = 9
# About 20 ms a step on one thread of the machine that the goal was set on.
HIDDEN = [1024, 1024, 1024]
CHANGES = {
    "model": {"hidden": HIDDEN},
    "data": {"limit": None, "batch_size": 64},
    "trainer": {"max_steps": STEPS, "max_epochs": -1, "limit_val_batches": 0},
    "checkpoints": "none",
}
QUIET = {
    "compute": {"cost": {}},
    "interpretability": {"attribution": {}},
    "stability": {"noise": {}},
}


def clocked(draft: Draft) -> list[float]:
    """CPU seconds at every entry into the training step; their differences are whole steps with hooks and loader."""
    entries: list[float] = []
    step = draft.task.training_step

    def training_step(batch: object, batch_idx: int) -> object:
        entries.append(time.process_time())
        return step(batch, batch_idx)

    draft.task.training_step = training_step
    return entries


def per_step(entries: list[float]) -> float:
    return median(later - earlier for earlier, later in pairwise(entries[5:]))


def plain(draft: Draft) -> float:
    entries = clocked(draft)
    Trainer(**draft.trainer, logger=False, enable_checkpointing=False).fit(draft.task, datamodule=draft.data)
    return per_step(entries)


def steelyard(draft: Draft, selected: tuple[Selected, ...], place: Path) -> float:
    entries = clocked(draft)
    attachments = assembly.attach(selected, draft)
    assembly.timed(attachments)
    trainer = training.make_trainer(tiny.config(**CHANGES), draft, selected, attachments, place)
    training.fit(trainer, draft, None)
    return per_step(entries)


def main() -> None:
    torch.set_num_threads(1)
    selected = plugins_of(tiny.config(**QUIET))
    rows: dict[str, list[float]] = {"no plugins": [], f"{len(selected)} plugins that only measure": []}
    steps: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for pair in range(PAIRS + 1):
            base = plain(tiny.draft(**CHANGES))
            ratios = [steelyard(tiny.draft(**CHANGES), chosen, Path(folder)) / base for chosen in ((), selected)]
            if pair:  # the first one warms up
                steps.append(base)
                for row, ratio in zip(rows.values(), ratios, strict=True):
                    row.append(ratio)
    print(f"plain Lightning: {1000 * median(steps):.1f} ms CPU a step, {STEPS} steps, {PAIRS} pairs")
    for name, ratios in rows.items():
        print(f"{name}: {median(ratios):.3f} of plain Lightning (from {min(ratios):.3f} to {max(ratios):.3f})")
    print(f"goal 1.02 without plugins: {'met' if median(rows['no plugins']) <= 1.02 else 'MISSED'}")


if __name__ == "__main__":
    main()
