"""A whole run with every plugin of explanation is, to the bit, the run without any."""

import copy
import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Trainer

from helpers.bits import same
from small_runs import bits, same_bits, streams
from steelyard.cli import main

FEW = (
    "compute=none",
    "privacy=none",
    "stability=none",
    "trainer.max_epochs=2",
    "trainer.deterministic=true",
    "trainer.enable_progress_bar=false",
    "trainer.enable_model_summary=false",
    "logger=csv",
    "model.hidden=[16]",
)
ON = (
    "interpretability=[attribution,faithfulness,drift,influence,concepts]",
    "interpretability.attribution.methods=[integrated_gradients,smoothgrad,kernel_shap,deep_lift]",
    "interpretability.attribution.samples=4",
    "interpretability.attribution.pictures=1",
    "interpretability.faithfulness.samples=4",
    "interpretability.faithfulness.pictures=1",
    "interpretability.faithfulness.stages=1",
    "interpretability.concepts.sets=[label:3]",
    "interpretability.concepts.random_concepts=10",
    "interpretability.influence.samples=2",
)
PRIVATE = ("privacy=dp_sgd", "privacy.dp_sgd.target_epsilon=50", "privacy.dp_sgd.noise_seed=1")


def ran(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, seen: list[dict[str, Any]]) -> None:
    """Runs, and keeps what stood there when training ended and when testing did."""
    with monkeypatch.context() as patch:
        for name in ("fit", "test"):
            act = getattr(Trainer, name)

            def watched(self: Trainer, *args: Any, act: Any = act, **settings: Any) -> Any:
                found = act(self, *args, **settings)
                task = self.lightning_module
                optimizers = [copy.deepcopy(optimizer.state_dict()) for optimizer in task.trainer.optimizers]
                logged = {key: float(value) for key, value in self.logged_metrics.items()}
                seen.append({"bits": bits(task), "optimizers": optimizers, "streams": streams(), "logged": logged})
                return found

            patch.setattr(Trainer, name, watched)
        assert main(["run", *words]) == 0
    torch.use_deterministic_algorithms(False)


def logged(folder: Path) -> list[dict[str, str]]:
    """What a run logged in training and testing, line by line, without that of its scores: some of these are times."""
    (path,) = folder.rglob("metrics.csv")
    return [line for line in csv.DictReader(path.read_text().splitlines()) if line["epoch"]]


@pytest.mark.slow
@pytest.mark.parametrize("private", [False, True])
def test_weights_optimizer_streams_and_losses_are_those_of_a_run_without_any(
    private: bool, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*FEW, *PRIVATE) if private else FEW
    also = ("interpretability.influence.training_records=true",) if private else ()
    without: list[dict[str, Any]] = []
    among: list[dict[str, Any]] = []
    ran((*words, "interpretability=none"), monkeypatch, without)
    ran((*words, *ON, *also), monkeypatch, among)
    assert len(without) == len(among) >= 2
    for one, other in zip(without, among, strict=True):
        assert same_bits(one["bits"], other["bits"])
        assert same(one["optimizers"], other["optimizers"])
        assert one["streams"] == other["streams"]
        assert one["logged"] == other["logged"]
    assert without[0]["logged"]
    cards = sorted(workdir.glob("outputs/*/scorecard.json"))
    assert len(cards) == 2
    told = [json.loads(card.read_text()) for card in cards]
    shared, more = sorted(({part["key"]: part for part in card["sections"]} for card in told), key=len)
    assert {key: part["status"] for key, part in more.items() if key.startswith("interpretability.")} == {
        f"interpretability.{name}": "measured"
        for name in ("attribution", "faithfulness", "drift", "influence", "concepts")
    }
    for key, part in shared.items():
        values = [[row["value"] for row in card[key]["measurements"] if not row["timing"]] for card in (shared, more)]
        assert values[0] == values[1], part["key"]
    short, long = sorted((logged(card.parent) for card in cards), key=lambda lines: len(lines[0]))
    assert any(line["train_loss"] for line in short)
    # The scores of the plugins stand in columns of their own.
    assert [{key: line[key] for key in short[0]} for line in long] == short
