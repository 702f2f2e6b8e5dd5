"""What a rehearsal keeps away from what is around it."""

import gc
import logging
import warnings
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def tidy() -> Generator[None]:
    """Garbage in cycles goes between the steps alone, so that the peak does not depend on when it is looked for.

    What was there before is not looked at meanwhile: torch and its friends are hundreds of thousands of objects.
    """
    enabled, frozen = gc.isenabled(), gc.get_freeze_count()
    gc.disable()
    if not frozen:
        gc.freeze()
    try:
        yield
    finally:
        gc.collect()
        if not frozen:
            gc.unfreeze()
        if enabled:
            gc.enable()


@contextmanager
def quiet() -> Generator[None]:
    """Neither warnings nor what Lightning tells a user."""
    logger = logging.getLogger("pytorch_lightning")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
