"""What a private fit takes at its peak, against one without privacy."""

import os
import subprocess
import sys
from statistics import median

import torch
from _private_models import MODELS
from _private_trainings import SKIPPED, STEPS, Clock, loader, plain, private, small, tiny
from torch.utils.data import DataLoader

from steelyard import resident


def memory(name: str, side: str) -> float:
    """Bytes that a fit takes at its peak beside the interpreter and the data; to be asked in a process of its own.

    The first steps count, in which the engine is held against the ordinary gradient. `cut` works on no more examples
    at once than a step without privacy has, where Poisson sampling draws more, `two` on so many that most batches come
    in two pieces; `drawn` is the run without privacy on batches of such sizes.
    """
    make_model, make, batch_size = MODELS[name]
    largest = {"dp_sgd": None, "cut": batch_size, "two": batch_size * 7 // 10, "halves": batch_size // 2}
    run, options = (plain, {}) if side in ("plain", "drawn") else (private, {"max_physical_batch_size": largest[side]})
    # What is loaded late is loaded before.
    run(tiny, small(), Clock(STEPS, SKIPPED), **options)
    data = loader(make, batch_size)
    if side == "drawn":
        steps = STEPS + SKIPPED
        places = (torch.rand(steps, len(data.dataset)) * steps < 1).unbind()
        data = DataLoader(data.dataset, batch_sampler=[place.nonzero()[:, 0].tolist() for place in places])
    resident.settle()
    before = resident.held()
    run(make_model, data, Clock(STEPS, SKIPPED), **options)
    return resident.peak() - before


GIVES_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
"""glibc's allocator then gives memory back as soon as it is free: what is left is what was held. As a training sets it,
it keeps what batches of ever new sizes have left behind, with or without privacy."""


def told_memory(name: str, pairs: int) -> None:
    sides = ("plain", "drawn", "dp_sgd", "cut", "two", "halves")
    for how, settings in (("what is held", GIVES_BACK), ("allocator as a training sets it", {})):
        found: dict[str, float] = {}
        for side in sides:
            words = [sys.executable, sys.argv[0], "--memory", name, side]
            runs = [
                subprocess.run(
                    words, capture_output=True, check=True, text=True, env={**os.environ, "SKIPPED": "11", **settings}
                )
                for _ in range(pairs)
            ]
            found[side] = median(float(run.stdout) for run in runs)
        plain_mib = found["plain"] / 2**20
        told = " | ".join(f"{side} {found[side] / found['plain']:.2f}" for side in sides[1:])
        alike = found["dp_sgd"] / found["drawn"]
        print(f"{name:36} peak memory, {how}: plain {plain_mib:.0f} MiB | {told} (goal 1.25)", flush=True)
        print(f"{'':36} dp_sgd of drawn, whose batches are of such sizes, too: {alike:.2f}", flush=True)
