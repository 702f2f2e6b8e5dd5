import tomllib
from pathlib import Path

import pytest

from steelyard.cli import doctor, main


def test_every_finding_that_is_bad_says_what_to_do(
    strangers: Path, workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "LIBRARIES", ("torch", "no-such-library"))
    monkeypatch.setattr(doctor, "_imports", lambda module, fix: doctor.Finding(True, f"{module} imports"))
    assert main(["doctor"]) == 1
    lines = capsys.readouterr().out.splitlines()
    bad = [line for line in lines if line.startswith("BAD")]
    assert all("->" in line for line in bad)
    assert any("no-such-library is not installed" in line for line in bad)
    assert any("fairness.broken" in line for line in bad)
    assert any(line.startswith("ok   torch") for line in lines)


def test_a_library_that_breaks_the_interpreter_is_found_in_a_process_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deadly.py").write_text("import os; os._exit(7)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = doctor._imports("deadly", "pip uninstall deadly")
    assert (found.good, found.fix) == (False, "pip uninstall deadly")


def test_more_threads_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "100000")
    assert not doctor._threads().good


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    assert not doctor._writable(tmp_path / "nowhere").good
    assert doctor._writable(tmp_path).good


def test_what_is_optional_is_named_with_its_extra_and_never_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = doctor._extra("keras", ["no_such_library"])
    assert (lacking.good, lacking.fix) == (True, "pip install 'steelyard[keras]'")
    assert "no_such_library" in lacking.what
    assert not doctor._extra("core", ["torch"]).fix
    monkeypatch.setenv("PATH", "")
    assert doctor._program("espeak-ng", "apt-get install espeak-ng").fix == "apt-get install espeak-ng"


def test_it_knows_every_extra() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    assert set(doctor.EXTRAS) == set(project["optional-dependencies"]) - {"all", "dev", "oracles"}
