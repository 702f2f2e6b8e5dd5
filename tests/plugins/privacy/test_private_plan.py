"""What a private run says before it starts."""

import pytest
import torch
from torch import nn

from private_runs import Task, data, make_draft, weights
from steelyard_privacy._plan import make_plan
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
