"""A command that trains is started once more, with an allocator that joins what is freed."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

import steelyard
from steelyard.cli import _anew, main

OFF = "glibc.malloc.tcache_count=0"
glibc = pytest.mark.skipif(not _anew._is_glibc(), reason="this C library has another allocator")  # pyright: ignore


class Started(Exception):
    """In place of a new process."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str]) -> None:
        self.words, self.tunables = words, environment["GLIBC_TUNABLES"]


@pytest.fixture
def command(tmp_path: Path) -> str:
    """Where the command lies."""
    place = tmp_path / "bin" / "steelyard"
    place.parent.mkdir()
    place.touch()
    return str(place)


@pytest.fixture
def process(command: str, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """This process as if it were the command, with a shell that sets nothing."""

    def start(program: str, words: Sequence[str], environment: Mapping[str, str]) -> None:
        assert program == words[0] == sys.executable
        raise Started(words[1:], environment)

    monkeypatch.setattr(os, "execve", start)
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    monkeypatch.setattr(sys, "orig_argv", ["python", command, "run", "data=digits"])
    monkeypatch.setattr(sys, "argv", [command, "run", "data=digits"])
    return monkeypatch


@glibc
def test_a_command_that_trains_starts_anew_with_the_same_words(command: str, process: pytest.MonkeyPatch) -> None:
    for script in (command, f"{Path(steelyard.__file__).parent}/__main__.py"):
        process.setattr(sys, "argv", [script, *sys.argv[1:]])
        with pytest.raises(Started) as started:
            _anew.start_anew()
        assert started.value.words == [command, "run", "data=digits"]
        assert started.value.tunables == OFF


@glibc
@pytest.mark.parametrize(
    ("words", "anew"),
    [
        (["run", "data=nothing"], True),
        (["plan", "data=nothing"], True),
        (["resume", "nowhere"], True),
        (["lightning", "fit", "-c", "nothing.yaml"], True),
        (["run", "--help"], False),
        (["run", "--cfg", "job"], False),
        (["status", "nowhere"], False),
        (["--version"], False),
    ],
)
def test_what_neither_trains_nor_plans_does_not(
    words: list[str], anew: bool, command: str, process: pytest.MonkeyPatch
) -> None:
    found: list[Started] = []
    process.setattr(sys, "argv", [command, *words])

    def note(*_: object) -> None:
        found.append(Started([], {"GLIBC_TUNABLES": ""}))
        raise OSError("no such program")

    process.setattr(os, "execve", note)
    # Where it cannot be started, this one goes on.
    assert main() in (0, 2)
    assert bool(found) == anew


def test_settings_of_the_user_stay(process: pytest.MonkeyPatch) -> None:
    assert _anew.without_cache({"A": "b"}) == {"A": "b", "GLIBC_TUNABLES": OFF}
    other = "glibc.malloc.trim_threshold=1"
    assert _anew.without_cache({"GLIBC_TUNABLES": other}) == {"GLIBC_TUNABLES": f"{other}:{OFF}"}
    assert _anew.without_cache({"GLIBC_TUNABLES": "glibc.malloc.tcache_count=7"}) is None
    process.setenv("GLIBC_TUNABLES", OFF)
    _anew.start_anew()


def test_neither_a_script_of_the_user_s_nor_words_from_python_start_a_process(process: pytest.MonkeyPatch) -> None:
    assert main(["run", "data=nothing"]) == 2
    for script in ("-c", "-", "train.py", "/home/me/__main__.py", "pytest", "steelyard"):
        process.setattr(sys, "argv", [script, "run"])
        _anew.start_anew()


@glibc
def test_it_is_the_same_process_and_says_the_same(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    done = subprocess.run(
        [sys.executable, "-m", "steelyard", "run", "data=nothing"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "nothing" in done.stderr
