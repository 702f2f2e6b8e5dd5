"""Sweeps whose trials take no time."""

from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.stand_in import stand_in
from steelyard import experiment, registry


@pytest.fixture
def nothing() -> tuple[str, ...]:
    """The words that select no plugin."""
    return tuple(f"{challenge}=none" for challenge in registry.challenges())


@pytest.fixture
def calls(workdir: Path) -> Path:
    """Gets a line with its seed for each trial that ran."""
    return workdir / "calls.txt"


@pytest.fixture
def trials(calls: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], None]], None]:
    """Installs runs that do what is told, given their seed."""

    def install(act: Callable[[int], None]) -> None:
        monkeypatch.setattr(experiment, "run", stand_in(calls, act))

    return install
