"""Data, task and model that do not go together are refused before anything is made."""

from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import get_object
from omegaconf import OmegaConf
from pytorch_lightning import LightningDataModule
from torch import nn

from helpers import tiny
from steelyard.data import TextCSV
from steelyard.data.records import Records
from steelyard.kinds import MODELS, TASKS, Kind, mismatch
from steelyard.problem import Refused
from steelyard.tasks.learning import Learning

EXPERIMENTS = sorted((tiny.CONF / "experiment").glob("*.yaml"))
OF_TEXTS = {
    "movie_reviews": Kind.TEXT_TO_CLASS,
    "stories": Kind.TEXT,
    "summaries": Kind.TEXT_TO_TEXT,
    "translation": Kind.TEXT_TO_TEXT,
}
"""Presets whose kind depends on what is read."""
READ = {"text_csv", "huggingface"}
"""What these hold, only the user knows."""


def node(group: str, name: str) -> Any:
    """A preset with those that it stands on."""
    own: Any = OmegaConf.load(tiny.CONF / group / f"{name}.yaml")
    below = [other for other in own.pop("defaults", []) if other != "_self_"]
    return OmegaConf.merge(*(node(group, other) for other in below), own)


@cache
def presets(group: str) -> dict[str, Any]:
    """Option -> the class that it names, of those that name one."""
    nodes = {path.stem: node(group, path.stem) for path in sorted((tiny.CONF / group).glob("*.yaml"))}
    named = {name: made for name, made in nodes.items() if not OmegaConf.is_missing(made, "_target_")}
    return {name: get_object(made._target_) for name, made in named.items()}


@cache
def kinds() -> dict[str, Kind]:
    return {name: OF_TEXTS.get(name) or made.kind for name, made in presets("data").items() if name not in READ}


class Some(LightningDataModule):
    """Data of a kind."""

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.kind = kind


@cache
def config(task: str, model: str) -> Any:
    return OmegaConf.create({"model": node("model", model), "task": node("task", task)})


def pasted(fix: str, task: str, model: str) -> tuple[str, str]:
    chosen = {"task": task, "model": model, **dict(word.split("=") for word in fix.split())}
    return chosen["task"], chosen["model"]


def test_every_preset_says_its_kind() -> None:
    assert all(isinstance(kind, Kind) for kind in kinds().values())
    assert all(made.learns for made in presets("task").values())
    assert all(made.does <= set(Kind) for made in presets("model").values())


def test_what_does_not_go_together_is_refused_with_presets_that_do() -> None:
    tasks, models = presets("task"), presets("model")
    for kind, task, model in product(set(kinds().values()), tasks, models):
        learns = tasks[task].learns
        problem = mismatch(config(task, model), Some(kind))
        assert (problem is None) == (kind in learns and learns[kind] in models[model].does)
        if problem is not None:
            assert mismatch(config(*pasted(problem.fix, task, model)), Some(kind)) is None
            assert ("task=" in problem.fix) == (kind not in learns)


def test_there_is_a_preset_for_every_kind() -> None:
    assert set(TASKS) == set(kinds().values())
    assert set(MODELS) == set(Kind)


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_experiment_goes_together(path: Path) -> None:
    lines = [line for line in OmegaConf.load(path).get("defaults", []) if not isinstance(line, str)]
    chosen = {"task": "classification"} | {key.split("/")[-1]: name for line in lines for key, name in line.items()}
    if "data" in chosen:
        assert mismatch(config(chosen["task"], chosen["model"]), Some(kinds()[chosen["data"]])) is None


@pytest.mark.parametrize(
    ("options", "kind"),
    [({"labels": [0, 1]}, Kind.TEXT_TO_CLASS), ({"answers": ["a", "b"]}, Kind.TEXT_TO_TEXT), ({}, Kind.TEXT)],
)
def test_texts_are_of_the_kind_that_was_read(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], kind: Kind
) -> None:
    monkeypatch.setattr(TextCSV, "records", Records(texts=["a", "b"], source="here", **options))
    assert TextCSV(path="any.csv").kind is kind


def test_the_run_is_refused_in_one_line() -> None:
    with pytest.raises(Refused) as caught:
        tiny.draft(task={"_target_": "steelyard.tasks.CTCRecognition"})
    (problem,) = caught.value.problems
    assert problem.message == "Digits has examples from image to class, and CTCRecognition learns from audio to text"
    assert problem.fix == "task=classification"


class Silent(Learning):
    """A task of one's own."""


class Net(nn.Module):
    """A model of one's own."""


@pytest.mark.parametrize(
    ("kind", "task", "model"),
    [
        ("anything", "steelyard.tasks.Detection", "steelyard.models.Bert"),
        (None, "steelyard.tasks.Detection", "steelyard.models.Bert"),
        (Kind.IMAGE_TO_CLASS, f"{__name__}.Silent", "steelyard.models.Bert"),
        (Kind.IMAGE_TO_CLASS, "steelyard.tasks.Classification", f"{__name__}.Net"),
        (Kind.IMAGE_TO_CLASS, "nowhere.Task", "steelyard.models.Bert"),
        (Kind.IMAGE_TO_CLASS, "steelyard.tasks.Classification", None),
    ],
)
def test_what_says_nothing_of_kinds_is_held_against_nothing(kind: Any, task: str, model: str | None) -> None:
    node = {"_target_": task} | ({} if model is None else {"model": {"_target_": model}})
    assert mismatch(OmegaConf.create({"task": node}), Some(kind)) is None


def test_kinds_that_end_alike_stand_together() -> None:
    problem = mismatch(config("classification", "mlp"), Some(Kind.IMAGE_TO_BOXES))
    assert problem is not None
    assert problem.message.endswith("Classification learns from audio, image, table, text or video to class")
