"""A run that broke off and was resumed ends with the same bits as one in one piece."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers import tiny
from helpers.bits import same
from steelyard import experiment, randomness

HOOKS = ("on_train_batch_start", "on_before_backward", "on_validation_start", "on_train_epoch_end")
MODEL = {"_target_": "steelyard.models.MLP", "dropout": 0.3, "hidden": [16]}


def changes(**more: Any) -> dict[str, Any]:
    trainer = {"max_epochs": 4, **more.pop("trainer", {})}
    return {"data": {"limit": 96, "batch_size": 8, **more.pop("data", {})}, "model": MODEL, "trainer": trainer, **more}


def last(place: Path) -> dict[str, Any]:
    return torch.load(place / "checkpoints" / "last.ckpt", weights_only=True)


def check(monkeypatch: pytest.MonkeyPatch, outputs: Path, *, hook: str, step: int, **more: Any) -> None:
    tiny.run(monkeypatch, outputs, folder_name="whole", **changes(**more))
    halting = {"callbacks": [{"_target_": "helpers.poison.Halt", "hook": hook, "step": step}]}
    broken = changes(**{**more, "trainer": {**more.get("trainer", {}), **halting}})
    with pytest.raises(OSError, match="halted"):
        tiny.run(monkeypatch, outputs, folder_name="broken", **broken)
    experiment.resume(outputs / "broken")
    whole, resumed = last(outputs / "whole"), last(outputs / "broken")
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "global_step"):
        assert same(whole[part], resumed[part]), part


@pytest.mark.parametrize("hook", HOOKS[1::2])
def test_a_resumed_run_ends_with_the_same_bits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, hook: str) -> None:
    check(monkeypatch, tmp_path, hook=hook, step=27)


def test_it_does_so_where_a_schedule_asks_for_the_number_of_steps(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scheduler = {"_target_": "steelyard.optimisation.Cosine"}
    check(monkeypatch, tmp_path, hook="on_before_backward", step=24, scheduler=scheduler)


@pytest.mark.slow
@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("step", [13, 24, 36, 40])
@pytest.mark.parametrize("accumulated", [1, 4])
def test_it_does_so_wherever_it_broke_off(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, hook: str, step: int, accumulated: int
) -> None:
    trainer = {"accumulate_grad_batches": accumulated, "gradient_clip_val": 1.0}
    scheduler = {"_target_": "steelyard.optimisation.OneCycle"}
    check(monkeypatch, tmp_path, hook=hook, step=step // accumulated, trainer=trainer, scheduler=scheduler)


@pytest.mark.slow
def test_it_does_so_where_workers_load_the_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    check(monkeypatch, tmp_path, hook="on_before_backward", step=27, data={"num_workers": 2})


def test_every_stream_comes_back() -> None:
    def draw() -> list[float]:
        return [
            float(torch.rand(())),
            float(np.random.rand()),
            float(np.random.randn()),
            random.random(),
            random.gauss(0, 1),
        ]

    with randomness.forked():
        draw()
        kept = randomness.states()
        one = draw()
        randomness.restore(kept)
        assert draw() == one
