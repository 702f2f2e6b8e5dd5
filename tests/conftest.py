"""What every test may use."""

import os
from pathlib import Path

# One thread a process: two workers share two cores, and sums do not depend on the number of threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
