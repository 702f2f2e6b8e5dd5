"""How many rows a model should see at once: too few waste its overhead, too many the processor's cache."""

import time
from dataclasses import replace

import torch

from steelyard_stability.attacks.aim import LIKELIHOOD
from steelyard_stability.attacks.scene import Scene

SIZES = (8, 16, 32, 64, 128, 256, 512)
WORSE = 1.1
"""How many times the best a size may take before larger ones are given up."""
LOOKS = 3


def best_batch(scene: Scene, *, most: int = SIZES[-1]) -> int:
    """The size that looks at a row in the least time, by a short trial.

    It changes the time that an attack takes, and of the numbers nothing but the last bits.

    Args:
        scene: At least one row.
        most: The largest size to try.
    """
    count = len(scene.centre)
    sizes = [size for size in SIZES if size <= min(most, count)] or [min(most, count)]
    if len(sizes) == 1:
        return sizes[0]
    _seconds(scene, sizes[0])
    best, least = sizes[0], float("inf")
    for size in sizes:
        taken = min(_seconds(scene, size) for _ in range(LOOKS)) / size
        if taken < least:
            best, least = size, taken
        elif taken > WORSE * least:
            break
    return best


def _seconds(scene: Scene, size: int) -> float:
    rows = torch.arange(size, device=scene.centre.device)
    # On a busy machine a larger batch is likelier to be interrupted, which says nothing of it: the time of this thread
    # leaves that out. A device works while the thread waits.
    clock = time.thread_time if rows.device.type == "cpu" else time.perf_counter
    start = clock()
    look = replace(scene, batch=size).look(scene.centre[rows], rows, LIKELIHOOD)
    # Reading a number waits for the device.
    float(look.losses.sum())
    return clock() - start
