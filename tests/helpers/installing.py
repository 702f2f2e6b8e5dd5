"""Installing packages as a stranger would, without network, and calling the command line beside them."""

import os
import subprocess
import sys
from pathlib import Path


def install(*projects: Path, target: Path) -> None:
    """Builds the projects and puts them into `target`; needs the build backend here, and nothing from outside."""
    options = ["--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--quiet"]
    words = [sys.executable, "-m", "pip", "install", *options, "--target", str(target), *map(str, projects)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def python(*words: str, target: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """`python -m ...` with `target` on the path."""
    environment = {**os.environ, "PYTHONPATH": str(target), "COLUMNS": "200"}
    words = (sys.executable, "-m", *words)
    return subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def steelyard(*words: str, target: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command line with `target` on the path."""
    environment = {**os.environ, "PYTHONPATH": str(target), "COLUMNS": "200"}
    command = Path(sys.executable).with_name("steelyard")
    return subprocess.run((command, *words), cwd=cwd, env=environment, capture_output=True, text=True, check=False)
