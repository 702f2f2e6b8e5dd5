"""Random streams: seeded once per run, and forked round everything that must not disturb the training."""

import random
from collections.abc import Generator
from contextlib import contextmanager

import numpy as np

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
