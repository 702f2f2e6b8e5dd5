"""A package of somebody else, installed for this test, lives as our own plugins do."""

import json
import shutil
from pathlib import Path

import pytest

from helpers.installing import install, python, steelyard

FAIRNESS = Path(__file__).parent / "third_party" / "steelyard_fairness"
QUICK = ("data.limit=120", "trainer.max_epochs=1", "checkpoints=none", "compute=none", "privacy=none")
ALONE = (*QUICK, "interpretability=none", "stability=none")

BROKEN = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "steelyard-gloom"
version = "1.0.0"

[project.entry-points."steelyard.plugins"]
"gloom.doom" = "steelyard_gloom:Doom"

[tool.hatch.build.targets.wheel]
packages = ["steelyard_gloom"]
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package in it, and with one that does not import."""
    place = tmp_path_factory.mktemp("strangers")
    # Copied, since building writes beside the sources.
    ours = shutil.copytree(FAIRNESS, place / "fairness")
    broken = place / "gloom" / "steelyard_gloom"
    broken.mkdir(parents=True)
    (broken.parent / "pyproject.toml").write_text(BROKEN)
    (broken / "__init__.py").write_text("import no_such_library\n")
    install(ours, broken.parent, target=place / "site")
    return place / "site"


def test_it_is_listed_and_the_broken_one_beside_it(installed: Path, tmp_path: Path) -> None:
    done = steelyard("plugins", "list", target=installed, cwd=tmp_path)
    lines = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert done.returncode == 0
    assert "The gap in accuracy" in lines["fairness.parity"]
    assert "No module named 'no_such_library'" in lines["gloom.doom"]


def test_it_is_shown(installed: Path, tmp_path: Path) -> None:
    done = steelyard("plugins", "show", "parity", target=installed, cwd=tmp_path)
    assert done.returncode == 0
    assert "fairness.parity.split=test" in done.stdout


def test_its_challenge_is_selected_without_a_plus(installed: Path, tmp_path: Path) -> None:
    words = ("fairness=parity", "fairness.parity.least=3", "require.fairness.parity.gap.max=1", *ALONE)
    done = steelyard("run", *words, target=installed, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (card,) = tmp_path.glob("outputs/*/scorecard.json")
    scorecard = json.loads(card.read_text())
    section = next(section for section in scorecard["sections"] if section["key"] == "fairness.parity")
    assert section["settings"] == {"split": "test", "least": 3}
    assert section["measurements"][0]["name"] == "fairness.parity.gap"
    assert [row["judgement"] for row in scorecard["requirements"]] == ["met"]


def test_its_settings_are_checked(installed: Path, tmp_path: Path) -> None:
    done = steelyard("run", "fairness=parity", "fairness.parity.least=0", target=installed, cwd=tmp_path)
    assert done.returncode == 2
    assert "fairness.parity.least must be at least 1" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_its_own_tests_pass(installed: Path, tmp_path: Path) -> None:
    tests = shutil.copytree(FAIRNESS / "tests", tmp_path / "tests")
    done = python("pytest", "-q", "-W", "error", str(tests), target=installed, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout


def test_a_broken_plugin_is_refused_when_it_is_selected(installed: Path, tmp_path: Path) -> None:
    done = steelyard("run", "gloom=doom", target=installed, cwd=tmp_path)
    assert done.returncode == 2
    assert "gloom.doom" in done.stderr
    assert "No module named 'no_such_library'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
