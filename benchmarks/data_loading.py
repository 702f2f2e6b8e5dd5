"""What loading costs beside the training step that it feeds, for the data sets that are embedded or made up.

CPU time of fetching a batch, without workers, over CPU time until the next fetch: the training step as Lightning runs
it, without any plugin. One process, one thread, median of 5 trainings.

    python benchmarks/data_loading.py [NAME...]

Goal: at most 0.10. Making or reading the data, once, before the first epoch, is not part of it, but printed beside it.
"""

import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator
from itertools import pairwise
from statistics import median
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import torch
from pytorch_lightning import Trainer, seed_everything

from steelyard.building import make_data, make_draft
from steelyard.composing import compose
from steelyard.problem import Refused

GOAL = 0.10
PAIRS = 5
SECONDS = 1.5
"""About how long the steps of one pair take."""

# The data set, and the words that choose the smallest preset which learns it.
CHOICES = {
    "digits": ["data=digits"],
    "breast_cancer": ["data=breast_cancer"],
    "fashion_mnist": ["experiment=mlp_one_cycle"],
    "motion": ["experiment=video"],
    "shapes": ["experiment=detection"],
    "translation": ["experiment=translation"],
    "summaries": ["experiment=summarisation"],
    "stories": ["experiment=language_model"],
    "spoken_digits": ["experiment=keyword"],
    "spoken_places": ["experiment=voice_search"],
    "spoken_strings": ["experiment=recognition"],
}


class Clocked:
    """A loader that notes the CPU time at which each fetch begins and ends."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        self.times: list[tuple[float, float]] = []

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        batches = iter(self.loader)
        while True:
            start = time.process_time()
            try:
                batch = next(batches)
            except StopIteration:
                return
            self.times.append((start, time.process_time()))
            yield batch


def trained(config: Any, data: Any, steps: int) -> tuple[float, float]:
    """Median CPU seconds of fetching a batch, and of all that lies between two fetches: the step, with Lightning."""
    task = make_draft(config, data).task
    clocked = Clocked(data.train_dataloader())
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    trainer = Trainer(max_steps=steps, limit_val_batches=0, enable_model_summary=False, **quiet)
    trainer.fit(task, train_dataloaders=clocked)
    times = clocked.times[2:]
    return (
        median(end - start for start, end in times),
        median(later[0] - earlier[1] for earlier, later in pairwise(times)),
    )


def compared(words: list[str]) -> tuple[float, float, float, float]:
    """Loading over stepping; milliseconds of both for a batch; seconds until the first batch."""
    config = compose(*words, "scheduler=none", "data.num_workers=0").config
    seed_everything(0, verbose=False)
    start = time.process_time()
    data = make_data(config)
    next(iter(data.train_dataloader()))
    ready = time.process_time() - start
    _, step = trained(config, data, 6)
    count = max(6, min(300, int(SECONDS / step)))
    pairs = [trained(config, data, count) for _ in range(PAIRS)]
    loads, steps = zip(*pairs, strict=True)
    return median(load / step for load, step in pairs), 1000 * median(loads), 1000 * median(steps), ready


def main(names: list[str]) -> int:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    print(f"{'data':<16} {'loading':>10} {'step':>10} {'ratio':>7}  {'until the first batch':>22}")
    over = 0
    for name in names or CHOICES:
        try:
            ratio, load, step, ready = compared(CHOICES[name])
        except Refused as refused:
            print(f"{name:<16} skipped: {refused.problems[0].message}")
            continue
        over += ratio > GOAL
        mark = " over the goal" if ratio > GOAL else ""
        print(f"{name:<16} {load:>7.2f} ms {step:>7.2f} ms {ratio:>7.3f}  {ready:>20.2f} s{mark}", flush=True)
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
