"""A run that is killed again and again goes on from what it had, and ends with the bits of one that never was."""

import random
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.forked import Forked
from helpers.tiny import CHOICES, config
from steelyard import experiment, folder
from steelyard.folder import State

KILLS = 50
EPOCHS = 120
MODEL = {"_target_": "steelyard.models.MLP", "dropout": 0.3, "hidden": [16]}


def run(name: str) -> int:
    trainer = {"max_epochs": EPOCHS}
    made = config(data={"limit": 96, "batch_size": 16}, model=MODEL, trainer=trainer)
    return experiment.run(made, choices=CHOICES, overrides=["seed=0"], outputs=Path.cwd(), folder_name=name).exit_code


def train(place: Path, changed: int) -> Forked:
    """Goes on, or begins; returns when the checkpoint is another one than that of the time `changed`."""
    written = place / "checkpoints" / "last.ckpt"
    process = Forked(lambda: experiment.resume(place).exit_code if changed else run(place.name))
    process.await_(lambda: time_of(written) != changed)
    return process


def time_of(file: Path) -> int:
    """When it was written, in nanoseconds; 0 where there is none."""
    return file.stat().st_mtime_ns if file.exists() else 0


def kept(place: Path) -> dict[str, Any]:
    return torch.load(place / "checkpoints" / "last.ckpt", weights_only=True)


@pytest.mark.slow
def test_fifty_kills_cost_no_bit(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "plugins_of", lambda _: ())
    assert run("whole") == 0
    place, draw = workdir / "killed", random.Random(0)
    written = place / "checkpoints" / "last.ckpt"

    epochs = 0
    for _ in range(KILLS):
        process = train(place, time_of(written))
        # Within the next few epochs, and so at times while a checkpoint is written.
        time.sleep(draw.uniform(0, 0.03))
        process.send_signal(9)
        process.end()
        assert process.returncode == -9, process.err()
        assert folder.status(place).state is State.KILLED
        # What is there is whole, and never from an earlier time.
        assert kept(place)["epoch"] >= epochs
        epochs = kept(place)["epoch"]

    assert experiment.resume(place).exit_code == 0
    whole, killed = kept(workdir / "whole"), kept(place)
    assert killed["global_step"] == whole["global_step"]
    for name, value in whole["state_dict"].items():
        assert torch.equal(value, killed["state_dict"][name]), name
    assert folder.status(place).resumed == KILLS
