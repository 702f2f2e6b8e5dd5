"""Modules that know nothing of Steelyard get all four challenges by config."""

import json
import shutil
from pathlib import Path

import pytest

from steelyard.cli import main

EXAMPLES = Path(__file__).parents[1] / "examples"
ALWAYS = "task=custom data=custom trainer.max_epochs=2 trainer.enable_progress_bar=false"
PLUGINS = {
    "compute.cost",
    "privacy.dp_sgd",
    "privacy.membership",
    "interpretability.attribution",
    "stability.noise",
}
PICTURES = "data._target_=bring_your_own.Pictures task._target_=bring_your_own.Painter task.modality=image"
SENTENCES = "data._target_=bring_your_own.Sentences task._target_=bring_your_own.Reader task.modality=text"
HEADS = "data=digits task._target_=bring_your_own.TwoHeads"
TOLD = {
    "mappings without forward": f"{PICTURES} +task.adapter.fields=[pixels,digit] +task.adapter.method=predict_step "
    "+task.adapter.output=logits",
    "several losses": f"{HEADS} +task.adapter.output=0",
    "whole numbers": f"{SENTENCES} +task.adapter.tokens=0 +task.adapter.labels=1",
}


def call(words: str, workdir: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    shutil.copy(EXAMPLES / "bring_your_own.py", workdir)
    code = main(["run", *ALWAYS.split(), *words.split()])
    return code, " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("words", TOLD.values(), ids=TOLD)
def test_all_four_challenges(words: str, workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = call(f"{words} privacy=[dp_sgd,membership]", workdir, capsys)
    assert code == 0, said
    (stored,) = workdir.glob("outputs/*/scorecard.json")
    sections = {section["key"]: section for section in json.loads(stored.read_text())["sections"]}
    assert sections.keys() >= PLUGINS
    for key in PLUGINS:
        assert sections[key]["status"] == "measured", key


def test_the_example_says_these_words() -> None:
    text = " ".join((EXAMPLES / "bring_your_own.py").read_text().split())
    for words in TOLD.values():
        assert words in text


@pytest.mark.parametrize(
    ("words", "message", "fix"),
    [
        (PICTURES, "the keys pixels, digit, source", "+task.adapter.fields=[pixels,digit]"),
        (
            f"{PICTURES} +task.adapter.fields=[pixels,digit]",
            "Painter has no forward",
            "+task.adapter.method=predict_step",
        ),
        (
            f"{PICTURES} +task.adapter.fields=[pixels,digit] +task.adapter.method=draw",
            "Painter has no method 'draw'",
            "task.adapter.method=predict_step",
        ),
        (
            f"{PICTURES} +task.adapter.fields=[pixels,digit] +task.adapter.method=predict_step",
            "a mapping with hidden, logits",
            "+task.adapter.output=logits",
        ),
        (
            f"{PICTURES} +task.adapter.fields=[pixels,digit] +task.adapter.method=predict_step "
            "+task.adapter.output=out",
            "without 'out'",
            "task.adapter.output=logits",
        ),
        (HEADS, "gives 2 things", "+task.adapter.output=0"),
        (SENTENCES, "a batch has 0, 1 and no", "+task.adapter.tokens=0 +task.adapter.labels=1"),
    ],
)
def test_what_has_to_be_told_is_asked_for_before_training(
    words: str, message: str, fix: str, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = call(words, workdir, capsys)
    assert code == 2
    assert message in said
    assert fix in said
    assert not list(workdir.glob("outputs/*"))
