"""What a step costs under Steelyard, against the same task under plain Lightning.

Both in one process, interleaved, CPU time, one thread, median of paired ratios. Of the steps of a training the lower
quartile counts: whatever else runs on the machine makes a step longer, and never shorter. What is more than plain
Lightning does not hang on the size of the step, so that of the tiny step is also told as a share of 20 ms, which the
noise of a long step does not hide.
Run: python benchmarks/step_cost.py [PAIRS] [tiny]

Goals at 20 ms a step: a run without plugins costs at most 1.02 of plain Lightning, and so does one with telemetry, a
budget and five scalars through `self.log`, and so does a trial of a sweep with five scalars, which tells its progress
to the table; that one costs at most 1.0 of plain Lightning with the same five. A plugin that is off is not attached, so
the run without plugins is also the run with all plugins off.
"""

import logging
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from itertools import pairwise
from multiprocessing import Pipe
from pathlib import Path
from statistics import median, quantiles

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import torch
from pytorch_lightning import Callback, Trainer

from helpers import tiny
from steelyard import assembly, training
from steelyard.draft import Draft
from steelyard.selection import Selected, plugins_of
from steelyard.sweeping._progress import Progress
from steelyard.sweeping.forked import Send

STEPS = 60
PAIRS = 9
# About 20 ms a step on one thread of the machine that the goal was set on, and one so small that overhead shows.
SIZES = {"a step of about 20 ms": [1024, 1024, 1024], "a tiny step": [32]}
SCALARS = 5
METERED = {"compute": {"cost": {}, "budget": {"steps": 10**6, "seconds": 1e6, "kwh": 1e3, "flops": 1e30}}}
QUIET = {
    "compute": {"cost": {}},
    "interpretability": {"attribution": {}},
    "stability": {"noise": {}},
    "privacy": {"membership": {}},
}


def changes(hidden: list[int]) -> dict[str, object]:
    return {
        "model": {"hidden": hidden},
        "data": {"limit": None, "batch_size": 64},
        "trainer": {"max_steps": STEPS, "max_epochs": -1, "limit_val_batches": 0},
        "checkpoints": "none",
    }


def clocked(draft: Draft, *, scalars: int) -> list[float]:
    """CPU seconds at every entry into the training step; their differences are whole steps with hooks and loader."""
    entries: list[float] = []
    step = draft.task.training_step

    def training_step(batch: object, batch_idx: int) -> object:
        entries.append(time.process_time())
        loss = step(batch, batch_idx)
        for number in range(scalars):
            draft.task.log(f"scalar_{number}", float(number))
        return loss

    draft.task.training_step = training_step
    return entries


def per_step(entries: list[float]) -> float:
    return quantiles([later - earlier for earlier, later in pairwise(entries[5:])], n=4)[0]


def plain(hidden: list[int], *, scalars: int = 0) -> float:
    draft = tiny.draft(**changes(hidden))
    entries = clocked(draft, scalars=scalars)
    Trainer(**draft.trainer, logger=False, enable_checkpointing=False).fit(draft.task, datamodule=draft.data)
    return per_step(entries)


def steelyard(
    hidden: list[int], selected: tuple[Selected, ...], place: Path, *, scalars: int = 0, watch: Callback | None = None
) -> float:
    draft = tiny.draft(**changes(hidden))
    entries = clocked(draft, scalars=scalars)
    attachments = assembly.attach(selected, draft)
    assembly.timed(attachments)
    trainer = training.make_trainer(tiny.config(**changes(hidden)), draft, selected, attachments, place, watch=watch)
    training.fit(trainer, draft, None)
    return per_step(entries)


def trial(hidden: list[int], place: Path, *, scalars: int) -> float:
    """As in a sweep, whose table is told of progress through a pipe."""
    there, here = Pipe(duplex=False)
    found = steelyard(hidden, (), place, scalars=scalars, watch=Progress(Send(here)))
    there.close()
    return found


def main() -> None:
    torch.set_num_threads(1)
    words = [word for word in sys.argv[1:] if word != "tiny"]
    pairs = int(words[0]) if words else PAIRS
    sizes = dict([*SIZES.items()][-1:]) if "tiny" in sys.argv[1:] else SIZES
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.simplefilter("ignore")
    selected = plugins_of(tiny.config(**QUIET))
    metered = plugins_of(tiny.config(**METERED))
    choices: dict[str, Callable[[list[int], Path], float]] = {
        "no plugins": lambda hidden, place: steelyard(hidden, (), place),
        f"{len(selected)} plugins that only measure": lambda hidden, place: steelyard(hidden, selected, place),
        "telemetry and a budget": lambda hidden, place: steelyard(hidden, metered, place),
        "telemetry, a budget and 5 scalars": lambda hidden, place: steelyard(hidden, metered, place, scalars=SCALARS),
        "a trial with 5 scalars": lambda hidden, place: trial(hidden, place, scalars=SCALARS),
        "plain Lightning with 5 scalars": lambda hidden, _: plain(hidden, scalars=SCALARS),
    }
    with tempfile.TemporaryDirectory() as folder:
        for size, hidden in sizes.items():
            bases: list[float] = []
            rows: dict[str, list[float]] = {name: [] for name in choices}
            for pair in range(pairs + 1):
                base = plain(hidden)
                costs = {name: run(hidden, Path(folder)) for name, run in choices.items()}
                if pair:  # the first one warms up
                    bases.append(base)
                    for name, cost in costs.items():
                        rows[name].append(cost / base)
            told = f"{1000 * median(bases):.2f} ms CPU, {STEPS} steps, {pairs} pairs"
            print(f"{size}: plain Lightning {told}", flush=True)
            for name, ratios in rows.items():
                more = 1e6 * (median(ratios) - 1) * median(bases)
                spread = f"from {min(ratios):.3f} to {max(ratios):.3f}"
                print(
                    f"  {name}: {median(ratios):.3f} of plain Lightning ({spread}), {more:+.0f} us a step, "
                    f"{more / 2e4:+.2%} of 20 ms"
                )


if __name__ == "__main__":
    main()
