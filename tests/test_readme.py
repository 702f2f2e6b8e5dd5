"""Every command of the README runs as it stands there."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from steelyard.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(sh|python)\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = [line.partition("#")[0].strip() for kind, block in BLOCKS if kind == "sh" for line in block.splitlines()]
RUNS = [words for words in COMMANDS if words.startswith("steelyard") and "outputs/" not in words]
ON_FOLDERS = [words for words in COMMANDS if words.startswith("steelyard") and "outputs/" in words]
# The main job has a test of its own, and the installation runs in the slow tests.
ELSEWHERE = ["make run", "make test"]
# These take ten seconds and more: as they stand they are slow tests, and the runs are quick ones on a few examples.
LONG = [words for words in RUNS if re.search("fashion_mnist|doctor|-m privacy=none,dp_sgd", words)]
FEW = [f"{words} data.limit=256" for words in LONG if words.startswith("steelyard run")]
SHORT = [words for words in RUNS if words not in LONG]


def call(words: str) -> int:
    return main(words.split()[1:])


@pytest.mark.parametrize("words", [*SHORT, *FEW, *(pytest.param(words, marks=pytest.mark.slow) for words in LONG)])
def test_a_command_of_the_readme(words: str, workdir: Path) -> None:
    shutil.copy(ROOT / "examples" / "stranger.py", workdir)
    if "fashion_mnist" in words and not Path("/usr/share/datasets/fashion-mnist").exists():
        pytest.skip("Debian's package dataset-fashion-mnist is not installed")
    expected = 2 if "norm=batch" in words else 0
    assert call(words) == expected


def test_commands_on_run_folders(workdir: Path) -> None:
    for seed in (0, 1):
        assert call(f"steelyard run privacy=none interpretability=none seed={seed} trainer.max_epochs=1") == 0
    one, other = sorted(path.name for path in (workdir / "outputs").iterdir())
    assert ON_FOLDERS
    for words in ON_FOLDERS:
        done = call(words.replace("RUN", one).replace("OTHER", other))
        assert done == 0, words
    assert (workdir / "outputs" / one / "report_public.html").exists()


def test_the_python_blocks(workdir: Path) -> None:
    for kind, block in BLOCKS:
        if kind == "python":
            exec(compile(block, "README.md", "exec"), {"__name__": "readme"})


def test_nothing_else_stands_in_the_blocks() -> None:
    others = [words for words in COMMANDS if words and words not in RUNS + ON_FOLDERS + ELSEWHERE]
    assert others == [
        "python3 -m venv .venv",
        ".venv/bin/pip install -c constraints.txt .",
        ".venv/bin/steelyard run experiment=first_look",
    ]


@pytest.mark.slow
def test_the_plain_installation(tmp_path: Path) -> None:
    clone = tmp_path / "steelyard"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    subprocess.run([sys.executable, "-m", "venv", ".venv"], cwd=clone, check=True)
    subprocess.run([".venv/bin/pip", "install", "-q", "-c", "constraints.txt", "."], cwd=clone, check=True)
    subprocess.run([".venv/bin/steelyard", "run", "experiment=first_look"], cwd=clone, check=True)
    assert list(clone.glob("outputs/*/sweep.html"))
