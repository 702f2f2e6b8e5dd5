"""The account survives: checkpoints, resuming, and what must not go on."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import ModelCheckpoint

from private_runs import Fitted, Task, data, fit, weights
from steelyard.problem import Refused
from steelyard_privacy.dp_sgd import DPSGD

# The second session keeps no checkpoints of its own.
pytestmark = pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")

FIXED = DPSGD(noise_multiplier=1.3, target_epsilon=None, noise_seed=5)


class Interrupt(Callback):
    """Ends the training after some steps, as a crash does."""

    def __init__(self, after: int) -> None:
        self._after = after

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == self._after:
            raise RuntimeError("lights out")


def keeping(folder: Path) -> ModelCheckpoint:
    return ModelCheckpoint(dirpath=folder, save_last=True, save_top_k=0, every_n_train_steps=1)


def cut_and_resumed(plugin: DPSGD, folder: Path, *, after: int, again: DPSGD | None = None, **trainer: Any) -> Fitted:
    torch.manual_seed(0)
    task = Task()
    with pytest.raises(RuntimeError, match="lights out"):
        fit(
            plugin,
            task,
            data(64),
            callbacks=(keeping(folder), Interrupt(after)),
            max_epochs=3,
            enable_checkpointing=True,
        )
    return fit(again or plugin, Task(), data(64), ckpt_path=folder / "last.ckpt", **{"max_epochs": 3, **trainer})


def test_the_clipping_norm_goes_on_where_it_was(tmp_path: Path) -> None:
    plugin = replace(FIXED, clip_quantile=0.5, clip_count_noise=0.2, max_grad_norm=50)
    torch.manual_seed(0)
    whole = fit(plugin, Task(), data(64), max_epochs=3)
    resumed = cut_and_resumed(plugin, tmp_path, after=6)
    assert resumed.attachment._norm.value == whole.attachment._norm.value < 50
    assert torch.equal(weights(resumed.task), weights(whole.task))


@pytest.mark.parametrize("after", [4, 6])
def test_a_resumed_run_goes_on_counting_and_is_the_same(tmp_path: Path, after: int) -> None:
    torch.manual_seed(0)
    whole = fit(FIXED, Task(), data(64), max_epochs=3)
    resumed = cut_and_resumed(FIXED, tmp_path, after=after)
    assert resumed.attachment._account == whole.attachment._account
    assert resumed.attachment._account.steps == 12
    # Draws and noise are functions of (noise_seed, step): also after a cut in the middle of an epoch.
    assert torch.equal(weights(resumed.task), weights(whole.task))


def test_the_noise_after_a_resume_is_not_the_noise_before(tmp_path: Path) -> None:
    """Without a seed two resumed halves differ; noise that came back would cancel out."""
    fresh = DPSGD(noise_multiplier=1.3, target_epsilon=None)
    one = cut_and_resumed(fresh, tmp_path / "a", after=6)
    other = fit(fresh, Task(), data(64), ckpt_path=tmp_path / "a" / "last.ckpt", max_epochs=3)
    assert one.attachment._account == other.attachment._account
    assert not torch.equal(weights(one.task), weights(other.task))


def test_the_state_is_plain_numbers_and_a_seal(tmp_path: Path) -> None:
    torch.manual_seed(0)
    fit(FIXED, Task(), data(64), callbacks=(keeping(tmp_path),), enable_checkpointing=True)
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)["callbacks"]["privacy.dp_sgd"]
    assert state["steps"] == 4
    assert isinstance(state.pop("seal"), str)
    assert {type(value) for value in state.values()} == {int, float}


@pytest.mark.parametrize(
    ("again", "trainer", "words"),
    [
        (DPSGD(noise_multiplier=1.0, target_epsilon=None), {}, "noise multiplier 1.3"),
        (DPSGD(noise_multiplier=1.3, target_epsilon=None, delta=1e-7), {}, "delta"),
    ],
)
def test_another_mechanism_cannot_go_on(tmp_path: Path, again: DPSGD, trainer: Any, words: str) -> None:
    with pytest.raises(Refused, match=words):
        cut_and_resumed(FIXED, tmp_path, after=4, again=again, **trainer)


def test_more_epochs_would_need_more_noise(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="noise multiplier"):
        cut_and_resumed(DPSGD(), tmp_path, after=4, max_epochs=6)


def test_a_resumed_run_still_ends_at_its_target(tmp_path: Path) -> None:
    plugin = DPSGD(noise_multiplier=2.0, target_epsilon=3.0)
    resumed = cut_and_resumed(plugin, tmp_path, after=4, max_epochs=60)
    account = resumed.attachment._account
    assert account.steps > 4
    assert account.epsilon <= 3.0 < account.mechanism.epsilon(steps=account.steps + 1)
