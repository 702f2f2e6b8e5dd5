"""A third party's distributions, and configs in which nothing else is selected."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from steelyard import registry

STRANGERS = Path(__file__).parents[2] / "strangers"


@pytest.fixture
def strangers(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Their plugins and presets are installed."""
    monkeypatch.syspath_prepend(STRANGERS)
    return STRANGERS


@pytest.fixture
def nothing(strangers: Path) -> tuple[str, ...]:
    """The words that select no plugin; `fairness` is `none` by itself."""
    del strangers
    return tuple(f"{challenge}=none" for challenge in registry.challenges() if challenge != "fairness")


@pytest.fixture
def own_yaml(tmp_path: Path) -> Callable[[str, str], Path]:
    """Writes a file into a folder of the user's own YAML and gives the folder."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / "own" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return tmp_path / "own"

    return write


Shell = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Runs `steelyard` in a process of its own, in an empty folder, with the strangers installed."""

    def run(*words: str, before: str = "", after: str = "") -> subprocess.CompletedProcess[str]:
        code = f"import sys\n{before}\nfrom steelyard.cli import main\ncode = main()\n{after}\nsys.exit(code)"
        environment = {**os.environ, "PYTHONPATH": str(STRANGERS), "COLUMNS": "160"}
        return subprocess.run(
            [sys.executable, "-W", "error", "-c", code, *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run
