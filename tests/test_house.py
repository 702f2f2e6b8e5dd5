"""Rules of the house that a machine can see."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = sorted((ROOT / "framework").rglob("*.py"))
PLUGINS = sorted((ROOT / "plugins").rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ENTRIES: dict[str, str] = PROJECT["entry-points"]["steelyard.plugins"]
HEAVY = ("torch", "numpy", "pytorch_lightning", "opacus", "captum", "scipy", "sklearn", "matplotlib", "hydra")


def words(path: Path) -> Iterator[str]:
    """Every name, attribute, import, text and docstring of a module."""
    for node in ast.walk(ast.parse(path.read_text())):
        for field in ("id", "attr", "name", "arg", "module", "value"):
            word = getattr(node, field, None)
            if isinstance(word, str):
                yield word


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_core_names_no_plugin(path: Path) -> None:
    packages = {value.partition(".")[0] for value in ENTRIES.values()}
    classes = {value.partition(":")[2] for value in ENTRIES.values()}
    libraries = {"opacus", "captum"}
    # These are plain English words, too; a plugin is named by its key, its package, or a word of its own.
    english = {
        "cost",
        "noise",
        "attribution",
        "precision",
        "budget",
        "early_stopping",
        "freeze",
        "prune",
        "seeds",
        "compile",
        "influence",
    }
    names = {key.partition(".")[2] for key in ENTRIES} - english
    classes -= {word.capitalize() for word in english}
    for word in words(path):
        found = set(re.findall(r"\w+", word))
        assert not found & (packages | libraries), word
        if len(word) < 200 and "\n" not in word and " " not in word:
            assert word not in {*ENTRIES, *classes, *names}, word


@pytest.mark.parametrize("path", [*CORE, *PLUGINS], ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_above_400_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


def test_the_contract_is_short() -> None:
    assert len((ROOT / "framework/steelyard/plugin.py").read_text().splitlines()) < 150


@pytest.mark.parametrize("target", ENTRIES.values())
def test_a_declaration_imports_nothing_heavy(target: str) -> None:
    module = target.partition(":")[0]
    program = f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"


@pytest.mark.parametrize(
    "module", ["steelyard", "steelyard.cli", "steelyard.plugin", "steelyard.stored", "steelyard.report"]
)
def test_what_the_shell_touches_imports_nothing_heavy(module: str) -> None:
    program = f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"


def test_constraints_pin_every_direct_dependency_and_no_torchvision() -> None:
    pinned = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
    }
    wanted = {re.split(r"[^\w-]", line)[0].lower() for line in PROJECT["dependencies"]}
    assert wanted <= pinned
    assert "torchvision" not in pinned


def test_only_underscored_modules_touch_what_is_private() -> None:
    things = r"\b(?:trainer|module|task|pl_module|strategy|loop|hydra)\._(?!_)\w+"
    imports = r"from (?:torch|pytorch_lightning|lightning_fabric|opacus|captum|hydra)[\w.]*\._"
    private = re.compile(f"{things}|{imports}")
    for path in [*CORE, *PLUGINS]:
        if not path.name.startswith("_") or path.name == "__init__.py":
            assert not private.search(path.read_text()), path
