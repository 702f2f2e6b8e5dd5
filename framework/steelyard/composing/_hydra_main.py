"""Hydra's own entry, `hydra.main`, called with our words: sweeps and information."""

import os
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig

from steelyard.composing._alone import alone
from steelyard.composing._explain import explain
from steelyard.composing._words import searchpath
from steelyard.composing.source import PACKAGE, PRIMARY, register


def through_hydra(
    words: Sequence[str], *, folders: Sequence[Path] = (), task: Callable[[DictConfig], None] | None = None
) -> None:
    """Lets Hydra act on the words, flags included.

    Args:
        words: As Hydra's own command line takes them.
        folders: With YAML of the user's own.
        task: What to do with each job.

    Raises:
        Refused: If the words do not compose.
    """
    register()
    everything = [*words, *searchpath(folders)]
    entry: Any = hydra.main(config_path=f"pkg://{PACKAGE}", config_name=PRIMARY, version_base="1.3")(task or _nothing)
    with alone(), _process(everything):
        try:
            entry()
        except SystemExit as leaving:
            if leaving.code:
                raise
        except Exception as error:
            raise explain(error, [word for word in everything if not word.startswith("-")]) from error


@contextmanager
def _process(words: Sequence[str]) -> Generator[None]:
    """The arguments of the process as Hydra expects them, and its errors as exceptions instead of texts on stderr."""
    arguments, full = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = [arguments[0], *words]
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        sys.argv = arguments
        if full is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = full


def _nothing(config: DictConfig) -> None:
    del config
