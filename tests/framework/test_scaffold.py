"""`steelyard plugins new` writes a package that works as it is, or nothing."""

import errno
import sys
from pathlib import Path
from typing import Any

import pytest

from helpers.installing import install, python, steelyard
from steelyard import scaffold
from steelyard.problem import Refused

FILES = {
    "README.md",
    "pyproject.toml",
    "steelyard_fairness_sure_thing/__init__.py",
    "steelyard_fairness_sure_thing/_sure_thing.py",
    "steelyard_fairness_sure_thing/py.typed",
    "steelyard_fairness_sure_thing/sure_thing.py",
    "tests/test_sure_thing.py",
}


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_package_is_complete(tmp_path: Path) -> None:
    made = scaffold.new("fairness.sure_thing", tmp_path)
    assert made == tmp_path / "steelyard-fairness-sure-thing"
    assert files(made) == FILES
    assert list(tmp_path.iterdir()) == [made]
    assert not [path for path in made.rglob("*") if path.is_file() and "{{" in path.read_text()]


@pytest.mark.slow
def test_the_package_works_as_it_is(tmp_path: Path) -> None:
    site, folder = tmp_path / "site", tmp_path / "work"
    folder.mkdir()
    done = steelyard("plugins", "new", "fairness.sure_thing", target=site, cwd=folder)
    assert done.returncode == 0, done.stderr
    project = folder / done.stdout.strip()
    install(project, target=site)
    tests = python("pytest", "-q", "-W", "error", target=site, cwd=project)
    assert tests.returncode == 0, tests.stdout
    assert "skipped" not in tests.stdout
    checked = steelyard("plugins", "check", "steelyard_fairness_sure_thing:SureThing", target=site, cwd=folder)
    assert checked.returncode == 0, checked.stdout
    shown = steelyard("plugins", "show", "fairness.sure_thing", target=site, cwd=folder)
    assert "fairness.sure_thing.threshold=0.9" in shown.stdout


def test_the_package_is_tidy(tmp_path: Path) -> None:
    made = scaffold.new("fairness.sure_thing", tmp_path)
    for words in (["check", "--no-cache", "."], ["format", "--no-cache", "--check", "."]):
        done = python("ruff", *words, target=tmp_path, cwd=made)
        assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_the_package_is_typed(tmp_path: Path) -> None:
    made = scaffold.new("fairness.sure_thing", tmp_path)
    (made / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    done = python("pyright", "--pythonpath", sys.executable, target=tmp_path, cwd=made)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_the_check_fails_where_the_plugin_does(tmp_path: Path) -> None:
    made = scaffold.new("fairness.sure_thing", tmp_path)
    declaration = made / "steelyard_fairness_sure_thing" / "sure_thing.py"
    declaration.write_text(declaration.read_text().replace("@dataclass(frozen=True, kw_only=True)\n", ""))
    target = "steelyard_fairness_sure_thing.sure_thing:SureThing"
    checked = steelyard("plugins", "check", target, target=made, cwd=tmp_path)
    assert checked.returncode == 1
    assert "write `@dataclass(frozen=True, kw_only=True)` above `class SureThing`" in checked.stdout


@pytest.mark.parametrize(
    "name",
    [
        "fairness",
        "fairness.",
        ".parity",
        "a.b.c",
        "Fairness.parity",
        "fairness.Parity",
        "fairness.none",
        "fairness.class",
        "fairness.my-plugin",
        "../up.parity",
        "fairness.plugin",
        "fairness.tensor",
        "compute.cost",
    ],
)
def test_bad_names_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(Refused) as refused:
        scaffold.new(name, tmp_path)
    (problem,) = refused.value.problems
    assert problem.fix.startswith("steelyard plugins new ")
    assert not list(tmp_path.iterdir())


def test_the_command_line_refuses_with_2(tmp_path: Path) -> None:
    done = steelyard("plugins", "new", "fairness.class", target=tmp_path, cwd=tmp_path)
    assert done.returncode == 2
    assert "'fairness.class' is no name of a plugin" in done.stderr


def test_what_exists_is_left_alone(tmp_path: Path) -> None:
    place = tmp_path / "steelyard-fairness-sure-thing"
    place.mkdir()
    (place / "mine.txt").write_text("mine")
    with pytest.raises(Refused, match="exists already"):
        scaffold.new("fairness.sure_thing", tmp_path)
    assert files(place) == {"mine.txt"}


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="there is no folder"):
        scaffold.new("fairness.sure_thing", tmp_path / "nowhere")


def test_nothing_half_written_stays_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, written = Path.write_text, []

    def full(path: Path, *words: Any, **options: Any) -> int:
        written.append(path)
        if len(written) == 4:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write(path, *words, **options)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(Refused, match="No space left on device"):
        scaffold.new("fairness.sure_thing", tmp_path)
    assert len(written) == 4
    assert not list(tmp_path.iterdir())
