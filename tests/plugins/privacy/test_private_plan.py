"""What a private run says before it starts."""

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from private_runs import Task, data, make_draft, weights
from steelyard.tasks import Classification
from steelyard_privacy._accounting import Mechanism
from steelyard_privacy._larger import larger, noise_of
from steelyard_privacy._plan import Plan, make_plan
from steelyard_privacy.dp_sgd import DPSGD


def test_the_plan_says_how_much_signal_the_noise_leaves() -> None:
    """B / (sigma sqrt(d)): the longest clipped sum over the expected length of the noise."""
    module = data(64, batch_size=16)
    plugin = DPSGD(target_epsilon=None, noise_multiplier=2.0)
    plan = make_plan(plugin, make_draft(Task(), module, max_epochs=1))
    assert plan.weights == len(weights(Task()))
    noise = 2.0 * torch.randn(1000, plan.weights, generator=torch.Generator().manual_seed(0))
    assert plan.signal_to_noise == pytest.approx(16 / float(noise.norm(dim=1).mean()), rel=0.02)
    notes = [
        problem for problem in plugin.preflight(make_draft(Task(), module, max_epochs=1)) if problem.level == "note"
    ]
    assert "signal-to-noise at most 0.878 a step on 83 weights" in notes[0].message
    assert any(problem.fix == "data.batch_size=64" for problem in notes)
    lazy = make_draft(Task(nn.LazyLinear(3)), module, max_epochs=1)
    assert make_plan(plugin, lazy).signal_to_noise is None


def test_the_batch_that_takes_most_memory_is_the_largest_or_one_that_is_cut_less_often() -> None:
    def plan(epochs: int) -> Plan:
        draft = make_draft(Task(), data(6400, batch_size=64), max_epochs=epochs)
        return make_plan(DPSGD(target_epsilon=None, noise_multiplier=2.0), draft)

    generator = np.random.default_rng(0)
    for epochs in (1, 20):
        largest = generator.binomial(6400, 0.01, (500, epochs * 100)).max(axis=1)
        assert plan(epochs).fullest(None) == pytest.approx(np.median(largest), abs=2)
    assert plan(20).fullest(70) == 70
    assert plan(20).fullest(40) == 80
    assert plan(20).fullest(20) == 80
    assert plan(20).fullest(200) == plan(20).fullest(None)


@pytest.mark.parametrize(("sigma", "within"), [(1.0, 0.1), (3.0, 0.03)])
def test_the_noise_of_a_larger_batch_keeps_the_epsilon(sigma: float, within: float) -> None:
    """Against the accountant, of the same epochs in fewer, larger steps: a limit of many quiet steps, so about."""
    before = Mechanism(rate=0.01, noise_multiplier=sigma, delta=1e-5).live_epsilon(steps=1200)
    for times in (2, 4):
        after = Mechanism(rate=0.01 * times, noise_multiplier=noise_of(sigma, times=times), delta=1e-5)
        assert after.live_epsilon(steps=1200 // times) == pytest.approx(before, rel=within)


def test_noise_that_is_next_to_nothing_stays_finite() -> None:
    assert noise_of(0.01, times=4) == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize(
    ("optimizer", "words"),
    [
        (partial(torch.optim.SGD, lr=0.5), "data.batch_size=64 optimizer.lr=2 "),
        (partial(torch.optim.AdamW, lr=0.5), "data.batch_size=64 optimizer.lr=1 "),
        (lambda weights: torch.optim.SGD(weights, lr=0.5), "data.batch_size=64 privacy"),
    ],
)
def test_a_larger_batch_is_proposed_with_its_learning_rate(optimizer: Any, words: str) -> None:
    task = Classification(model=nn.Linear(6, 3), classes=3, optimizer=optimizer)
    draft = make_draft(task, data(256, batch_size=16), max_epochs=5)
    plugin = DPSGD(target_epsilon=None, noise_multiplier=0.6)
    (said,) = [one for one in plugin.preflight(draft) if one.message.startswith("over the same")]
    assert said.level == "note"
    assert said.fix.startswith(words)
    assert f"privacy.dp_sgd.noise_multiplier={noise_of(0.6, times=4):.3g}" in said.fix
    assert "a batch of 32 has about 0.57 of the noise on an update and 1.24 times" in said.message
    # Of the noise on an update: that of the mean gradient, sigma / B.
    twice, four = larger(make_plan(plugin, draft))
    assert four.noise == pytest.approx(noise_of(0.6, times=4) / 64 / (0.6 / 16))
    assert twice.whole == pytest.approx(math.sqrt(1 / 2) / twice.noise)


def test_nothing_larger_is_proposed_where_it_gains_nothing_or_leaves_no_steps() -> None:
    loud = DPSGD(target_epsilon=None, noise_multiplier=6.0)
    draft = make_draft(Task(), data(256, batch_size=16), max_epochs=5)
    (said,) = [one for one in loud.preflight(draft) if one.message.startswith("over the same")]
    assert (said.fix, "gains next to nothing" in said.message) == ("", True)
    (noisy,) = [one for one in loud.preflight(draft) if one.message.startswith("each step")]
    assert ("more epochs" in noisy.message, "larger batches" in noisy.message) == (True, False)
    short = make_draft(Task(), data(256, batch_size=16), max_epochs=2)
    assert not [one for one in loud.preflight(short) if one.message.startswith("over the same")]
