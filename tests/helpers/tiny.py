"""A tiny experiment on the real digits: a second of training."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf

from steelyard import building, experiment
from steelyard.draft import Draft
from steelyard.scorecard import Scorecard
from steelyard.selection import Selected

CONF = Path(__file__).parents[2] / "conf" / "steelyard_conf"
CHOICES = {"data": "digits", "model": "mlp"}


def config(**changes: Any) -> DictConfig:
    """The default experiment on a few digits; `trainer={"max_steps": 3}` changes a node, `seed=1` a value."""
    made = OmegaConf.create({"seed": 0, "require": {}, "checkpoints": "last", "logger": None})
    chosen = {
        "data": "digits",
        "model": "mlp",
        "task": "classification",
        "optimizer": "adam",
        "scheduler": "none",
        "trainer": "default",
    }
    for group, option in chosen.items():
        made[group] = OmegaConf.load(CONF / group / f"{option}.yaml")
    quiet = {"max_epochs": 2, "enable_progress_bar": False, "accelerator": "cpu"}
    made.merge_with({"data": {"limit": 96, "batch_size": 32}, "trainer": quiet})
    made.merge_with(changes)
    return made


def draft(**changes: Any) -> Draft:
    """The plain draft of that experiment."""
    cfg = config(**changes)
    data = building.make_data(cfg)
    pl.seed_everything(int(cfg.seed), workers=True, verbose=False)
    return building.make_draft(cfg, data)


def run(
    monkeypatch: Any, outputs: Path, *selected: Selected, folder_name: str | None = None, **changes: Any
) -> Scorecard:
    """That experiment with these plugins, through the real `experiment.run`."""
    monkeypatch.setattr(experiment, "plugins_of", lambda _: selected)
    return experiment.run(
        config(**changes), choices=CHOICES, overrides=["seed=0"], outputs=outputs, folder_name=folder_name
    )


def weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of all parameters and buffers."""
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
