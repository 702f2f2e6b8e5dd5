"""Caches of the functions that a model calls: what they kept of tensors without numbers must not reach a real run."""

import functools
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FunctionType
from typing import Any

from torch import nn

_CACHED = type(functools.lru_cache(lambda: None))


def caches_of(module: nn.Module) -> list[Any]:
    """Functions under `functools.lru_cache` of a module's classes and of the files in which these stand."""
    kinds = {kind for part in module.modules() for kind in type(part).__mro__}
    files = {sys.modules[kind.__module__] for kind in kinds if kind.__module__ in sys.modules}
    return list({id(found): found for place in (*kinds, *files) for found in _cached(place)}.values())


@contextmanager
def emptied(caches: Sequence[Any]) -> Generator[None]:
    """Empties, when it ends, the caches that something was added to meanwhile."""
    before = [cache.cache_info().misses for cache in caches]
    try:
        yield
    finally:
        for cache, misses in zip(caches, before, strict=True):
            if cache.cache_info().misses != misses:
                cache.cache_clear()


def _cached(place: object) -> Iterator[Any]:
    values: list[Any] = list(vars(place).values())
    for value in values:
        # By type alone: a stranger's file may hold things that answer no question about themselves.
        function: Any = value.__func__ if type(value) in (staticmethod, classmethod) else value
        held = _held(function) if type(function) is FunctionType else ()
        yield from (one for one in (function, *held) if type(one) is _CACHED)


def _held(function: FunctionType) -> Iterator[Any]:
    """What a function holds of the one around it: transformers' own decorator keeps its cache there."""
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # nothing is in it yet
            yield cell.cell_contents
