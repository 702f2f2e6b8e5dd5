"""Random streams: seeded once per run, and forked round everything that must not disturb the training."""

import random
from collections.abc import Generator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def forked() -> Generator[None]:
    """Puts every global random stream (torch, NumPy, Python) back afterwards, also after an exception."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
