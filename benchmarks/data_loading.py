"""What loading costs beside the training step that it feeds, for the data sets that are embedded or made up.

CPU time of going through the training loader, without workers, over CPU time of the training steps (forward, backward,
optimizer) on the same batches, in one process, one thread, interleaved, median of paired ratios.

    python benchmarks/data_loading.py [NAME...]

Goal: at most 0.10. Making or reading the data, once, before the first epoch, is not part of it, but printed beside it.
"""

import itertools
import os
import sys
import time
import warnings
from statistics import median
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import torch
from pytorch_lightning import seed_everything

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


def stepped(task: Any, optimizer: Any, batch: Any) -> float:
    """CPU seconds of one training step."""
    start = time.process_time()
    optimizer.zero_grad()
    task.training_step(batch, 0).backward()
    optimizer.step()
    return time.process_time() - start


def loaded(loader: Any, batches: int) -> tuple[float, list[Any]]:
    """CPU seconds of fetching this many batches, and they themselves; epochs follow one another."""
    kept: list[Any] = []
    start = time.process_time()
    while len(kept) < batches:
        kept += itertools.islice(loader, batches - len(kept))
    return time.process_time() - start, kept


def compared(words: list[str]) -> tuple[float, float, float, float]:
    """Loading over stepping; milliseconds of both for a batch; seconds until the first batch."""
    config = compose(*words, "scheduler=none", "data.num_workers=0").config
    seed_everything(0, verbose=False)
    start = time.process_time()
    data = make_data(config)
    loader = data.train_dataloader()
    loaded(loader, 1)
    ready = time.process_time() - start
    task = make_draft(config, data).task.train()
    optimizer = task.configure_optimizers()
    _, (batch,) = loaded(loader, 1)
    stepped(task, optimizer, batch)
    batches = max(4, min(200, int(SECONDS / stepped(task, optimizer, batch))))
    loads, steps = [], []
    for _ in range(PAIRS):
        load, kept = loaded(loader, batches)
        loads.append(load / batches)
        steps.append(sum(stepped(task, optimizer, batch) for batch in kept) / batches)
    ratio = median(load / step for load, step in zip(loads, steps, strict=True))
    return ratio, 1000 * median(loads), 1000 * median(steps), ready


def main(names: list[str]) -> int:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
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
