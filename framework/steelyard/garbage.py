"""When Python looks for garbage in cycles; imports nothing heavy."""

import gc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def left_lying() -> Generator[None]:
    """Nobody looks for it inside: an import of torch and its friends leaves next to none.

    Each look goes through all objects that there are, hundreds of thousands of them, and while they are made it comes
    again and again.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
