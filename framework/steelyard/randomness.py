"""Random streams: seeded once per run, and forked round everything that must not disturb the training."""

import random
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from steelyard._untyped import fork_torch


@contextmanager
def forked() -> Generator[None]:
    """Puts every global random stream (torch, NumPy, Python) back afterwards, also after an exception."""
    python, numpy = random.getstate(), np.random.get_state()
    with fork_torch():
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def states() -> dict[str, Any]:
    """Where every global random stream (torch on all devices, NumPy, Python) is, in tensors and plain values.

    Of CUDA only where it is in use: to look would wake it.
    """
    kind, keys, *rest = np.random.get_state(legacy=True)
    version, numbers, spare = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "numpy": [str(kind), [int(key) for key in keys], *rest],
        "python": [version, [*numbers], spare],
    }


def restore(states: Mapping[str, Any]) -> None:
    """Puts every global random stream back to where `states` found it; those of devices that are not here are left."""
    torch.set_rng_state(states["torch"].cpu())
    for device, state in zip(range(torch.cuda.device_count()), states["cuda"], strict=False):
        torch.cuda.set_rng_state(state.cpu(), device)
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), *rest))
    version, numbers, spare = states["python"]
    random.setstate((version, tuple(numbers), spare))
