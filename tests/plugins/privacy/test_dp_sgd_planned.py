"""A private training is rehearsed, and leaves no trace: neither in the ledger nor in the next real training."""

from pathlib import Path

import pytest
import torch
from torch import nn

from private_runs import CLASSES, Task, data, fit, make_draft, weights
from steelyard.estimating.rehearsal import Estimate, rehearse
from steelyard.selection import Selected
from steelyard_privacy._ledger import beside_outputs
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
