"""A private training is rehearsed, and leaves no trace: neither in the ledger nor in the next real training."""

from pathlib import Path

import pytest
import torch
from torch import nn

from private_runs import CLASSES, Task, data, fit, make_draft, weights
from steelyard.estimating.rehearsal import Estimate, rehearse
from steelyard.selection import Selected
from steelyard_privacy._ledger import beside_outputs
from steelyard_privacy._plan import make_plan
from steelyard_privacy.dp_sgd import DPSGD


def rehearsed(plugin: DPSGD, *, task: Task | None = None, **trainer: object) -> tuple[Estimate, Path]:
    draft = make_draft(task or Task(), data(64, batch_size=16), **{"max_epochs": 1, **trainer})
    estimate = rehearse([Selected("privacy.dp_sgd", plugin)], draft)
    return estimate, beside_outputs(Path(draft.trainer["default_root_dir"]))


def trained(plugin: DPSGD) -> torch.Tensor:
    torch.manual_seed(0)
    return weights(fit(plugin, Task(), data(64, batch_size=16)).task)


def test_a_plan_before_a_private_training_changes_no_bit_of_it() -> None:
    plugin = DPSGD(noise_seed=1)
    alone = trained(plugin)
    estimate, _ = rehearsed(plugin)
    assert estimate.flops > 0
    assert torch.equal(trained(plugin), alone)


def test_a_plan_is_the_same_every_time_although_the_noise_is_not_and_spends_no_epsilon() -> None:
    (once, ledger), (again, _) = rehearsed(DPSGD()), rehearsed(DPSGD())
    assert once == again
    assert not ledger.exists()


def test_operations_are_those_of_a_batch_in_expectation_and_steps_those_of_the_private_plan() -> None:
    def estimated(count: int, size: int) -> Estimate:
        draft = make_draft(Task(), data(count, batch_size=size), max_epochs=3)
        return rehearse([Selected("privacy.dp_sgd", DPSGD(noise_multiplier=1.0, target_epsilon=None))], draft)

    small, large = estimated(70, 16), estimated(140, 32)
    assert large.flops == 2 * small.flops
    # 70 / 16 rounded down, where a loader that takes each example once makes five batches.
    assert small.steps == 3 * 4
    assert small.most > small.flops


@pytest.mark.parametrize(("noise", "affordable"), [(1.0, 1), (4.0, 121)])
def test_a_plan_ends_where_the_target_does(noise: float, affordable: int) -> None:
    plugin = DPSGD(noise_multiplier=noise, target_epsilon=3.0)
    estimate, _ = rehearsed(plugin, max_epochs=500)
    plan = make_plan(plugin, make_draft(Task(), data(64, batch_size=16), max_epochs=500))
    assert estimate.steps == plan.affordable_steps == affordable


@pytest.mark.slow
def test_one_example_at_a_time_takes_more_operations_and_less_memory_at_once() -> None:
    together, alone = (rehearsed(DPSGD(engine=engine))[0] for engine in ("auto", "microbatch"))
    assert alone.memory["activations"] < together.memory["activations"]
    assert not together.uncounted


class Tokens(nn.Module):
    """Every kind of gradient that is kept in parts: an embedding's rows, products over positions, norms."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.norm = nn.Embedding(11, 40), nn.LayerNorm(40)
        self.mix, self.head = nn.Linear(40, 40), nn.Linear(40, CLASSES)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        words = (inputs.abs() * 10).long() % 11
        return self.head(self.mix(self.norm(self.embedding(words))).relu().mean(dim=1))


def test_the_fast_engine_is_planned_for_tokens_too() -> None:
    estimate, ledger = rehearsed(DPSGD(engine="hooks"), task=Task(Tokens()))
    assert estimate.flops > 0
    assert not ledger.exists()
