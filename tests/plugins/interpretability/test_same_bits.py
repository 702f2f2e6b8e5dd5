"""Explaining at every hook of training changes no weight, no random stream and no logged loss, privately too."""

from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from private_runs import Task, data, fit
from questions_to_models import noise, to_model
from small_runs import bits, digits, digits_task, frozen, same_bits, streams, train
from steelyard.data import Digits
from steelyard.measurement import Measurement
from steelyard_interpretability import Attribution
from steelyard_interpretability._attribution import AttributionAttachment
from steelyard_interpretability._safe import explaining
from steelyard_interpretability.methods.registry import METHODS
from steelyard_privacy import DPSGD

HOOKS = (
    "on_fit_start",
    "on_train_start",
    "on_train_epoch_start",
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
    "on_train_epoch_end",
    "on_train_end",
    "on_fit_end",
)
DRAWN = ("integrated_gradients", "smoothgrad", "kernel_shap", "deep_lift", "guided_backprop", "lime")
"""Of each family, and all that draw or hook."""


class Explains(Callback):
    """Explains at one hook, and keeps what was logged."""

    def __init__(self, hook: str) -> None:
        self.calls, self.losses = 0, list[float]()
        if hook:
            setattr(self, hook, self.explain)

    def explain(self, trainer: Trainer, task: LightningModule, *others: Any) -> None:
        self.calls += 1
        with explaining(task):
            question = to_model(task, noise(3, 6), effort=0.1)
            for name in DRAWN:
                METHODS[name].explain(question)

    def teardown(self, trainer: Trainer, task: LightningModule, stage: str) -> None:
        self.losses = [float(value) for value in trainer.logged_metrics.values()]


def trained(hook: str, *, private: bool) -> tuple[Any, ...]:
    torch.manual_seed(0)
    watch = Explains(hook)
    if private:
        plugin = DPSGD(target_epsilon=50.0, noise_seed=1)
        task: Any = fit(plugin, Task(), data(32), callbacks=(watch,), deterministic=True).task
    else:
        task = train(Task, data(32), callbacks=[watch], deterministic=True)
    torch.use_deterministic_algorithms(False)
    return bits(task), streams(), watch


@pytest.mark.slow
@pytest.mark.parametrize("private", [False, True])
def test_explaining_at_any_hook_changes_no_bit_of_training(private: bool) -> None:
    plain = trained("", private=private)
    for hook in HOOKS:
        weights, state, watch = trained(hook, private=private)
        assert watch.calls > 0, hook
        assert same_bits(weights, plain[0]), hook
        assert state == plain[1], hook
        assert watch.losses == plain[2].losses, hook


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"batch_size": 128, "num_workers": 2}, {"batch_size": 50}])
def test_neither_workers_nor_the_batches_of_the_loader_change_a_number(settings: dict[str, int]) -> None:
    plugin = Attribution(samples=12, pictures=0, random_orders=2)
    task = train(digits_task, digits(), epochs=2)
    other = Digits(**settings)
    other.setup("fit")
    found = [
        {(row.name, *row.at.items()): row.value for row in AttributionAttachment(plugin).measure(run) if numbers(row)}
        for run in (frozen(task, digits()), frozen(task, other))
    ]
    assert found[0].keys() == found[1].keys()
    assert found[1] == pytest.approx(found[0], rel=1e-5, abs=1e-6)


def numbers(row: Any) -> bool:
    return isinstance(row, Measurement) and row.value is not None
