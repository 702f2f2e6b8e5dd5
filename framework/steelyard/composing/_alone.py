"""Room for our own composition in a process that may be using Hydra itself."""

from collections.abc import Generator
from contextlib import contextmanager

from hydra.core.global_hydra import GlobalHydra


@contextmanager
def alone() -> Generator[None]:
    """Takes the process's Hydra away, and puts it back at the end."""
    known = GlobalHydra.instance()
    before = known.hydra
    known.clear()
    try:
        yield
    finally:
        # `initialize` and `hydra.main` both leave another object behind.
        GlobalHydra.instance().hydra = before
