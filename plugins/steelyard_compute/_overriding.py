"""Layers with a forward of somebody else's while a step runs."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from steelyard.problem import Problem


@contextmanager
def overridden(layer: nn.Module, forward: Callable[..., Any]) -> Generator[None]:
    """The layer with another `forward` of its own; one that somebody else put there comes back."""
    before = vars(layer).get("forward")
    vars(layer)["forward"] = forward
    try:
        yield
    finally:
        del vars(layer)["forward"]
        if before is not None:
            vars(layer)["forward"] = before


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether a layer's name fits one of the patterns."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def unmatched(patterns: tuple[str, ...], names: list[str], *, option: str) -> list[Problem]:
    """A problem for each pattern without a layer.

    Args:
        patterns: Of names of layers.
        names: There are.
        option: The path that holds the patterns.
    """
    return [
        Problem(
            f"no layer is called {pattern!r}",
            fix=f"{option}=['{(*get_close_matches(pattern, names, n=1, cutoff=0.0), '*')[0]}']",
        )
        for pattern in patterns
        if not matches_any(pattern, names)
    ]


def matches_any(pattern: str, names: list[str]) -> bool:
    """Whether any layer has such a name."""
    return any(fnmatchcase(name, pattern) for name in names)


def outermost(layers: dict[str, nn.Module]) -> dict[str, nn.Module]:
    """Those with weights that lie in no other of them."""
    worth = {name: layer for name, layer in layers.items() if any(True for _ in layer.parameters())}
    return {name: layer for name, layer in worth.items() if not any(name.startswith(f"{outer}.") for outer in worth)}
