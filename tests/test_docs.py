"""What the pages of docs/ tell a user to type is understood as it stands there."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path

import pytest

from steelyard import registry
from steelyard.composing import compose, look_through, session

ROOT = Path(__file__).parents[1]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "CHANGELOG.md"]
RUN_ELSEWHERE = ("README", "recipe", "CHANGELOG")
"""Pages whose commands other tests run, or that have none."""
VERBS = {"run", "plan", "weigh"}
OPTION = re.compile(r"\b(\w+\.\w+)\.(\w+)=")
LATER = {"-m", "..."}
"""Words that are no overrides: a sweep, and an ellipsis for what the reader has already."""


def commands(page: Path) -> Iterator[list[str]]:
    """The words behind `steelyard` of all commands of a page that compose a config."""
    for block in re.findall(r"```sh\n(.*?)```", page.read_text(), flags=re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["steelyard"] and words[1] in VERBS:
                yield words[1:]


@pytest.mark.parametrize("page", [page for page in PAGES if page.stem not in RUN_ELSEWHERE], ids=lambda page: page.stem)
def test_every_command_composes(page: Path, tmp_path: Path) -> None:
    with session():
        for verb, *words in commands(page):
            overrides = [word for word in words if word not in LATER and not word.startswith(("ckpt=", "--"))]
            # Two seeds compose like a hundred.
            told = [re.sub(r"range\(0,\d+\)", "range(0,2)", word) for word in overrides if "=" in word]
            if "hydra/launcher=ray" in told and find_spec("ray") is None:
                continue
            if "-m" in words:
                assert look_through(*told, place=tmp_path), words
            else:
                assert compose(*told).config, (verb, words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_option_that_is_set_in_a_sentence_is_one(page: Path) -> None:
    plugins = {entry.key for entry in registry.entries()}
    for key, name in OPTION.findall(page.read_text()):
        if key in plugins:
            assert name in {field.name for field in fields(registry.load(key))}, f"{key}.{name}"
