"""A clipping norm that follows a quantile of the gradients' norms, and pays for what it learns of them."""

import math
from typing import Any

import pytest
import torch

from private_runs import Task, data, fit, make_draft
from steelyard.problem import Refused
from steelyard_privacy._adaptive import ClippingNorm, gradient_noise
from steelyard_privacy._crew import Crew
from steelyard_privacy._plan import make_plan
from steelyard_privacy._randomness import CipherNormals
from steelyard_privacy.dp_sgd import DPSGD

FOLLOWING = DPSGD(
    noise_multiplier=1.0, target_epsilon=None, noise_seed=5, clip_quantile=0.5, clip_count_noise=0.2, max_grad_norm=50
)


def test_gradient_and_count_together_cost_what_the_account_says() -> None:
    """Gaussian mechanisms side by side are one, with the sum of their 1 / z^2 (Dong et al. 2022, corollary 3.3)."""
    found = gradient_noise(1.1, count_noise=0.8)
    assert found is not None
    # The count moves by one half at most.
    assert found**-2 + (0.8 / 0.5) ** -2 == pytest.approx(1.1**-2)
    assert found > 1.1
    assert gradient_noise(1.1, count_noise=0.55) is None


@pytest.mark.parametrize("quantile", [0.2, 0.8])
@pytest.mark.parametrize("begin", [0.01, 1000.0])
def test_it_comes_to_the_quantile_from_both_sides(quantile: float, begin: float) -> None:
    generator = torch.Generator().manual_seed(0)
    norm = ClippingNorm(DPSGD(clip_quantile=quantile, max_grad_norm=begin), batch_size=200)
    normals = CipherNormals(bytes(16))
    for _ in range(300):
        norm.see(torch.randn(200, generator=generator).exp(), Crew())
        norm.follow(normals)
    true = math.exp(float(torch.distributions.Normal(0, 1).icdf(torch.tensor(quantile))))
    assert norm.value == pytest.approx(true, rel=0.15)


def test_without_a_quantile_it_stays() -> None:
    norm = ClippingNorm(DPSGD(max_grad_norm=0.3), batch_size=4)
    norm.see(torch.ones(4), Crew())
    norm.follow(CipherNormals(bytes(16)))
    assert (norm.value, norm.noise_for(1.5), norm.state()) == (0.3, 1.5, {})


def test_a_training_follows_and_its_controls_agree() -> None:
    torch.manual_seed(0)
    seen: list[float] = []

    def watch(attachment: Any) -> None:
        follow = attachment._norm.follow

        def noted(normals: Any) -> None:
            seen.append(attachment._norm.value)
            follow(normals)

        attachment._norm.follow = noted

    whole = fit(FOLLOWING, Task(), data(64), prepare=watch, max_epochs=3)
    attachment = whole.attachment
    assert len(seen) == 12
    assert seen[0] == 50
    assert attachment._norm.value < seen[-1] < seen[0] / 2
    # They hold the noise against the norm and the multiplier of each step.
    assert not attachment._controls.complaints(steps=12, seal=attachment._sealed())
    assert not attachment._watch.test.failed()


def test_the_noise_of_the_count_is_not_that_of_the_gradient() -> None:
    counts: list[float] = []
    for before in (0, 6):
        norm, normals = ClippingNorm(FOLLOWING, batch_size=16), CipherNormals(bytes(16))
        if before:
            normals.fill(torch.empty(before), scale=1.0)
        norm.see(torch.ones(16), Crew())
        norm.follow(normals)
        counts.append(norm.value)
    assert counts[0] != counts[1]


def test_a_count_that_leaves_nothing_for_the_gradients_is_refused_with_a_way_out() -> None:
    draft = make_draft(Task(), data(64), max_epochs=1)
    plugin = DPSGD(noise_multiplier=2.0, target_epsilon=None, clip_quantile=0.5)
    with pytest.raises(Refused, match="count of short gradients") as caught:
        make_plan(plugin, draft)
    assert "clip_count_noise=0.125" in caught.value.problems[0].fix
    make_plan(DPSGD(noise_multiplier=2.0, target_epsilon=None, clip_quantile=0.5, clip_count_noise=0.125), draft)
