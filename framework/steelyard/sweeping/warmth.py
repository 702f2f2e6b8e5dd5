"""What a process does once before it forks many: so each of them starts with less to do, and copies less."""

import contextlib
import ctypes
import gc
import linecache
import logging
import os
import random
import sys
import warnings
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

MANY = 32
"""Forks from which on it pays to put memory together and to train a little."""
ROUNDS, EACH = 12, 8
"""Little trainings at most, and one for so many forks: Python fits a function to what it is called with at its eighth
call or so."""
_HUGE = 2 << 20
_PIECE = 2 * _HUGE
_ADVISE, _COLLAPSE = 14, 25


def warm_up(forks: int) -> None:
    """Makes this process ready to be forked.

    Args:
        forks: How many are to come; what takes time itself is done only for many.
    """
    for _ in warming_up(forks):
        pass


def warming_up(forks: int) -> Iterator[None]:
    """The same in pieces; after the first one forks may start, each of which takes a little more than those after all.

    Args:
        forks: How many are to come.
    """
    # The collectors of the forks leave alone what is here already, so that its pages stay shared. What nobody needs any
    # more is little, and looking for it takes as long as several trials.
    gc.freeze()
    yield
    if forks >= MANY:
        yield from _getting_used(min(ROUNDS, forks // EACH))
        gc.freeze()
        # Not in a thread beside the rest: the kernel holds both up, and takes twice the time.
        yield from putting_together()


def _getting_used(rounds: int) -> Iterator[None]:
    from steelyard.sweeping import forked

    # A driver of CUDA that is awake in this process would be of no use to a fork; asking for it may wake it.
    torch: Any = sys.modules.get("torch")
    if "pytorch_lightning" in sys.modules and not torch.backends.cuda.is_built():
        from steelyard.sweeping import _callbacks

        _callbacks.look_up()
        for number in range(rounds):
            train_a_little(seeds=not number)
            yield
    # torch notes where its streams are seeded, which reads the sources of all on the way there.
    for name in ("steelyard.composing._job", forked.__name__):
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is not None:
            linecache.getlines(file)


def putting_together() -> Iterator[None]:
    """Asks Linux (6.1 and later) to hold this process's own memory in huge pages, piece by piece; elsewhere not.

    A fork copies the table of pages, and its end takes it down; of huge pages that table has a five-hundredth of the
    entries. What a fork writes to is still copied by small pages.
    """
    if sys.platform != "linux":
        return
    advise = ctypes.CDLL(None, use_errno=True).madvise
    advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for begin, end in list(_own_memory()):
        for at in range(begin, end, _PIECE):
            size = min(_PIECE, end - at)
            advise(at, size, _ADVISE)
            advise(at, size, _COLLAPSE)
            yield


def train_a_little(*, seeds: bool = True) -> None:
    """Two steps of Lightning on a tiny model, which leave nothing behind but warm code.

    In one thread: what a fork inherits of a pool of threads is a pool without threads.

    Args:
        seeds: True to seed the random streams before it, as a trial does first.
    """
    import torch
    from pytorch_lightning import Trainer, seed_everything
    from torch.utils.data import DataLoader, TensorDataset

    from steelyard.sweeping._tiny import Tiny

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with _quiet(), _streams_kept(), _environment_kept():
            if seeds:
                seed_everything(0, verbose=False)
            off: Any = {name: False for name in ("logger", "enable_checkpointing", "enable_progress_bar")}
            trainer = Trainer(max_epochs=1, accelerator="cpu", devices=1, enable_model_summary=False, **off)
            data = TensorDataset(torch.randn(4, 8), torch.zeros(4, dtype=torch.long))
            trainer.fit(Tiny(), DataLoader(data, batch_size=2))
    finally:
        torch.set_num_threads(threads)


@contextlib.contextmanager
def _environment_kept() -> Generator[None]:
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


@contextlib.contextmanager
def _streams_kept() -> Generator[None]:
    import numpy as np
    import torch

    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _own_memory() -> Iterator[tuple[int, int]]:
    """Where this process's own memory lies, in whole huge pages."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        where, rights, *_, last = line.split()
        if rights == "rw-p" and (last == "0" or last == "[heap]"):
            begin, end = (int(place, 16) for place in where.split("-"))
            begin, end = -(-begin // _HUGE) * _HUGE, end // _HUGE * _HUGE
            if begin < end:
                yield begin, end
