import math
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from helpers import tiny
from steelyard import assembly
from steelyard.measurement import Status
from steelyard.preflight import preflight
from steelyard.problem import Refused
from steelyard.scorecard import Scorecard
from steelyard.selection import Selected
from steelyard.tasks import Classification
from steelyard_compute import Accumulation, Budget, Checkpointing, EarlyStopping, Freeze, Precision
from steelyard_privacy import DPSGD

Plugin = Accumulation | Budget | Checkpointing | EarlyStopping | Freeze | Precision


def selected(plugin: Plugin, name: str) -> Selected:
    return Selected(f"compute.{name}", plugin)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    def go(*chosen: Selected, **changes: Any) -> Scorecard:
        return tiny.run(monkeypatch, tmp_path, *chosen, **changes)

    return go


def weights_of(place: Path) -> dict[str, torch.Tensor]:
    last = next(place.glob("*/checkpoints/last.ckpt"))
    return torch.load(last, weights_only=True)["state_dict"]


# 96 examples in batches of 32: three steps an epoch, six in all.
@pytest.mark.parametrize(
    ("limits", "steps"),
    [({"steps": 4}, 4), ({"examples": 100}, 3), ({"examples": 127}, 3), ({"examples": 128}, 4), ({"steps": 100}, 6)],
)
def test_training_ends_before_the_step_that_would_pass_the_limit(run: Any, limits: dict[str, int], steps: int) -> None:
    card = run(selected(Budget(**limits), "budget"))
    ((name, limit),) = limits.items()
    row = card[f"compute.budget.{name}"]
    assert row.value == (steps if name == "steps" else 32 * steps) <= limit
    assert ("ended the training: " + name in row.note) == (steps < 6)
    assert card.exit_code == 0


def test_operations_are_counted_and_never_passed(run: Any) -> None:
    # 64 x 128 and 128 x 10 weights; forward, and twice for the gradients, but for that of the pixels.
    one = 2 * 32 * (2 * 64 * 128 + 3 * 128 * 10)
    for limit, steps in ((one, 1), (2.9 * one, 2), (3 * one, 3)):
        row = run(selected(Budget(flops=limit), "budget"), folder_name=f"{limit}")["compute.budget.flops"]
        assert row.value == steps * one <= limit
        assert row.unit == "FLOP"


def test_seconds_are_counted_and_end_the_training(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from steelyard_compute import _spending

    clock = iter(range(1000))
    monkeypatch.setattr(_spending, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    card = run(selected(Budget(seconds=7, steps=100), "budget"))
    row = card["compute.budget.seconds"]
    # A tick a step, and one for validation after the third and the last.
    assert (row.value, card["compute.budget.steps"].value) == (7, 5)
    assert row.timing
    assert "ended the training: seconds" in row.note


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        (Budget(examples=31), "one batch has 32 examples, the budget is 31"),
        (Budget(flops=10), "one step needs .* FLOP, the budget is 10"),
        (Budget(steps=2, on_breach="fail"), "the budget is used up: steps"),
    ],
)
def test_what_cannot_fit_fails_with_words(run: Any, budget: Budget, words: str) -> None:
    with pytest.raises((Refused, RuntimeError), match=words):
        run(selected(budget, "budget"))


def test_a_limit_is_stronger_than_min_epochs(run: Any) -> None:
    card = run(selected(Budget(steps=2), "budget"), trainer={"min_epochs": 2})
    assert card["compute.budget.steps"].value == 2


def test_no_limit_at_all_is_refused() -> None:
    with pytest.raises(Refused, match="no limit is set") as caught:
        preflight([selected(Budget(), "budget")], tiny.draft())
    assert caught.value.problems[0].fix == "compute.budget.seconds=600"


def test_accumulated_gradients_are_those_of_the_large_batch(run: Any, tmp_path: Path) -> None:
    sgd = {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.1}
    order = {"batch_size": 96}
    run(folder_name="large", data=order, optimizer=sgd)
    card = run(
        selected(Accumulation(batches=3), "accumulation"), folder_name="small", data={"batch_size": 32}, optimizer=sgd
    )
    large, small = (
        torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for name in ("large", "small")
    )
    for name, weight in large.items():
        if name.startswith("model."):
            torch.testing.assert_close(small[name], weight, rtol=1e-4, atol=1e-6)
    row = card["compute.accumulation.examples_per_step"]
    assert (row.value, row.count) == (96, 2)


def test_early_stopping_ends_when_nothing_gets_better(run: Any) -> None:
    still = {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 1e-12}
    card = run(
        selected(EarlyStopping(patience=2, min_delta=0.01), "early_stopping"),
        trainer={"max_epochs": 9},
        optimizer=still,
    )
    row = card["compute.early_stopping.epochs"]
    assert row.value == 3
    assert "stopped: val_loss had not got better" in row.note
    card = run(selected(EarlyStopping(), "early_stopping"), folder_name="whole")
    assert card["compute.early_stopping.epochs"].value == 2


def test_frozen_weights_stay_and_the_others_learn(run: Any, tmp_path: Path) -> None:
    draft = tiny.draft()
    before = tiny.weights(draft.task)
    card = run(selected(Freeze(weights=("*",), but=("model.layers.4.*", "*bias")), "freeze"))
    after = weights_of(tmp_path)
    moved = {name for name, weight in before.items() if name.startswith("model.") and not weight.equal(after[name])}
    named = {name for name, _ in draft.task.named_parameters()}
    still = {name for name in named if not name.endswith("bias") and ".4." not in name}
    assert moved == named - still
    row = card["compute.freeze.frozen_fraction"]
    sizes = {name: weight.numel() for name, weight in draft.task.named_parameters()}
    assert row.value == pytest.approx(sum(sizes[name] for name in still) / sum(sizes.values()))


@pytest.mark.parametrize(
    ("plugin", "words"),
    [
        (Freeze(weights=("modle.*",)), "no weight is called 'modle"),
        (Freeze(weights=("*",)), "every weight is frozen"),
        (Checkpointing(layers=("modle.*",)), "no layer is called 'modle"),
    ],
)
def test_a_pattern_that_does_not_fit_is_refused(plugin: Plugin, words: str) -> None:
    with pytest.raises(Refused, match=words) as caught:
        preflight([selected(plugin, "it")], tiny.draft())
    assert caught.value.problems[0].fix.startswith("compute.")


def blocks(*, norm: bool = False) -> nn.Module:
    return nn.Sequential(
        nn.Flatten(),
        *(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.3)) for _ in range(4)),
        *([nn.BatchNorm1d(64)] if norm else []),
        nn.Linear(64, 10),
    )


def task(model: nn.Module) -> Classification:
    return Classification(model=model, optimizer=partial(torch.optim.SGD, lr=0.1), classes=10)


def kept_bytes(draft: Any, batch: Any) -> tuple[int, list[torch.Tensor]]:
    """What a step keeps for the backward pass, and its gradients."""
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, nn.Parameter):
            kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    torch.manual_seed(1)
    with assembly.wrapped(draft), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = draft.task.training_step(batch, 0)
    loss.backward()
    return sum(kept.values()), [weight.grad.clone() for weight in draft.task.parameters() if weight.grad is not None]


def test_checkpointing_keeps_less_and_gives_the_same_gradients() -> None:
    batch = (torch.rand(64, 1, 8, 8), torch.randint(10, (64,)))
    found = []
    for on in (False, True):
        torch.manual_seed(0)
        draft = tiny.draft()
        draft.task = task(blocks())
        chosen = [selected(Checkpointing(), "checkpointing")] if on else []
        preflight(chosen, draft)
        assembly.attach(chosen, draft)
        found.append(kept_bytes(draft, batch))
        assert all("forward" not in vars(module) for module in draft.task.modules())
    (whole, exact), (less, again) = found
    assert less < 0.7 * whole
    assert all(one.equal(other) for one, other in zip(exact, again, strict=True))


def test_checkpointing_refuses_running_statistics() -> None:
    draft = tiny.draft()
    draft.task = task(blocks(norm=True))
    with pytest.raises(Refused, match="BatchNorm1d: computed twice"):
        preflight([selected(Checkpointing(), "checkpointing")], draft)


@pytest.mark.parametrize("layout", ["bf16-mixed", "bf16-true"])
def test_precision_trains_in_16_bits_and_counts_the_answers_that_it_changes(run: Any, layout: Any) -> None:
    card = run(selected(Precision(format=layout), "precision"))
    row = card["compute.precision.changed_decisions"]
    assert row.status is Status.MEASURED
    assert row.value is not None
    assert 0 <= row.value < 0.2
    assert row.count == 96
    assert math.isfinite(card["task.loss"].value)


def test_a_lever_and_the_same_argument_of_the_trainer_are_refused() -> None:
    for plugin, name, argument in (
        (Precision(), "precision", {"precision": "bf16-mixed"}),
        (Accumulation(), "accumulation", {"accumulate_grad_batches": 2}),
    ):
        with pytest.raises(Refused, match=f"owns the .* of the run, and compute.{name} changes"):
            preflight([selected(plugin, name)], tiny.draft(trainer=argument))


DP = Selected("privacy.dp_sgd", DPSGD(noise_multiplier=1.0, target_epsilon=None, noise_seed=0))


@pytest.mark.parametrize(
    ("plugin", "name"),
    [
        (Precision(), "precision"),
        (Freeze(weights=("model.layers.2.*",)), "freeze"),
        (Budget(steps=2), "budget"),
        (EarlyStopping(), "early_stopping"),
    ],
)
def test_a_lever_works_under_differential_privacy(run: Any, plugin: Plugin, name: str) -> None:
    card = run(DP, selected(plugin, name))
    assert card.exit_code == 0
    assert card["privacy.dp_sgd.epsilon"].status is Status.MEASURED


def test_private_gradients_are_the_same_under_checkpointing(run: Any, tmp_path: Path) -> None:
    plain = Selected("privacy.dp_sgd", DPSGD(noise_multiplier=1.0, target_epsilon=None, noise_seed=0))
    lever = selected(Checkpointing(layers=("model.layers.2",)), "checkpointing")
    run(plain, folder_name="plain")
    run(plain, lever, folder_name="twice")
    plain_weights, twice = (
        torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for name in ("plain", "twice")
    )
    for name, weight in plain_weights.items():
        torch.testing.assert_close(twice[name], weight, rtol=1e-4, atol=1e-6)


def test_accumulation_under_differential_privacy_is_refused() -> None:
    with pytest.raises(Refused, match="batches of the run"):
        preflight([DP, selected(Accumulation(), "accumulation")], tiny.draft())
