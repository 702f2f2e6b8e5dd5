"""Drawn batches that would take much more memory than expected ones are worked on in pieces."""

from typing import Any

import pytest
import torch
from pytorch_lightning import Callback
from torch import Tensor, nn

from private_runs import FEATURES, Task, clipped, data, examples, fit, mlp, objective, weights
from steelyard_privacy import _engine
from steelyard_privacy._engine import HEAVY, LEAST, PART, SPARE, TIMES, HookEngine
from steelyard_privacy._sums import Layout
from steelyard_privacy.dp_sgd import DPSGD

ROWS, BATCH, STEPS = 96, 24, 12


def test_as_many_more_examples_are_taken_at_once_as_fit_into_a_little_memory() -> None:
    model = mlp()
    layout = Layout(list(model.parameters()))
    engine = HookEngine(model, layout)
    clipped(engine, layout, examples(9).tensors, objective(model), max_norm=1.0)
    assert engine.largest(20) == 20 + SPARE // (4 * (FEATURES + 8))


def test_what_goes_into_modules_without_a_rule_counts() -> None:
    model = nn.Sequential(nn.PReLU(), nn.Linear(FEATURES, 3))
    layout = Layout(list(model.parameters()))
    engine = HookEngine(model, layout)
    clipped(engine, layout, examples(9).tensors, objective(model), max_norm=1.0)
    assert engine.largest(20) == 20 + SPARE // (4 * 2 * FEATURES)


@pytest.mark.parametrize(("channels", "size", "part"), [(64, 4, LEAST), (32, 8, None), (16, 12, PART), (8, 32, 1)])
def test_where_gradients_of_single_examples_take_much_memory_most_batches_come_in_pieces(
    channels: int, size: int, part: float | None
) -> None:
    shape = (channels, size, size)
    model = nn.Sequential(nn.Conv2d(channels, channels, 3), nn.Flatten(), nn.Linear((size - 2) ** 2 * channels, 3))
    layout = Layout(list(model.parameters()))
    engine = HookEngine(model, layout)
    gradients, inputs = channels * (9 * channels + 1), channels * (size**2 + (size - 2) ** 2)
    few = -(-HEAVY // (4 * gradients))
    clipped(engine, layout, examples(12, shape=shape).tensors, objective(model), max_norm=1.0)
    expected = TIMES * inputs / gradients if part is None else part
    assert min(engine.largest(few), few) == int(expected * few)
    assert engine.largest(few // 2) > few // 2


class Counting(Task):
    """Notes how many examples it sees at once, tries of the engine left out."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[list[int]] = []

    def on_train_batch_start(self, batch: object, batch_idx: int) -> None:
        self.sizes.append([])

    def forward(self, inputs: Tensor) -> Tensor:
        if "gather" in str(vars(self).get("log")):
            self.sizes[-1].append(len(inputs))
        return super().forward(inputs)


def trained(**options: object) -> Counting:
    torch.manual_seed(0)
    task = Counting()
    plugin = DPSGD(noise_multiplier=1.0, target_epsilon=None, noise_seed=3, **options)
    fit(plugin, task, data(ROWS, batch_size=BATCH), max_epochs=STEPS * BATCH // ROWS)
    return task


def test_large_examples_are_worked_on_in_pieces_of_little_more_than_the_expected_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = trained(max_physical_batch_size=ROWS)
    monkeypatch.setattr(_engine, "SPARE", 0)
    cut = trained()
    most = BATCH + BATCH // 10
    drawn = [sum(sizes) for sizes in whole.sizes]
    assert [len(sizes) for sizes in whole.sizes] == STEPS * [1]
    assert max(drawn) > most
    for sizes, count in zip(cut.sizes, drawn, strict=True):
        assert sum(sizes) == count
        assert len(sizes) == -(-count // most)
        assert max(sizes) <= most
    torch.testing.assert_close(weights(cut), weights(whole), rtol=1e-5, atol=1e-6)


def test_small_ones_are_worked_on_at_once() -> None:
    assert all(len(sizes) == 1 for sizes in trained().sizes)


class Reverse(Task):
    """Goes its own way back."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[bool] = []

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        self.calls.append(loss.requires_grad)
        super().backward(loss, *args, **kwargs)


class After(Callback):
    """Looks at the task once a backward pass should be over."""

    def __init__(self) -> None:
        self.seen: list[bool] = []

    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        self.seen.append("backward" in vars(pl_module))


@pytest.mark.parametrize("kind", [Task, Reverse])
def test_lightning_is_spared_a_backward_pass_with_nothing_behind_it_and_no_task_its_own(kind: type[Task]) -> None:
    task, after = kind(), After()
    fit(DPSGD(), task, data(32, batch_size=8), callbacks=(after,))
    assert after.seen == [kind is Task] * 4
    assert "backward" not in vars(task)
    if isinstance(task, Reverse):
        assert task.calls == [True] * 4
