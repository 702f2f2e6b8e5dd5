import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from helpers.masks import HELD, TUNED
from helpers.victims import cnn, fitted, held, linear, mlp, scene
from steelyard_stability.attacks import Attack, Norm, Plan, distance
from steelyard_stability.masking import Check, battery
from steelyard_stability.masking.binarisation import binarisation
from steelyard_stability.masking.check import surplus
from steelyard_stability.masking.contests import edge

PLAN = Plan(steps=10, queries=20, targets=1)


def flags(
    model: nn.Module, *, norm: Norm = Norm.LINF, radius: float = 0.1, count: int = 32, plan: Plan = PLAN
) -> set[str]:
    here = scene(model, held(count)[0], radius=radius, norm=norm)
    return {check.name for check in battery(here, plan, least=radius / 10) if check.flagged}


@pytest.mark.parametrize(("norm", "radius"), [(Norm.LINF, 0.1), (Norm.L2, 1.0)])
def test_an_honest_model_raises_no_flag(norm: Norm, radius: float) -> None:
    assert flags(fitted(mlp), norm=norm, radius=radius) == set()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("no gradient", "zero_gradient"),
        ("turned round", "finite_differences"),
        ("a random gradient", "repeats"),
        ("eight levels", "zero_gradient"),
        ("probabilities", "probabilities"),
        ("noise", "silent_success"),
        ("decoy", "transfer"),
        ("detached", "unbounded"),
        ("turned round", "binarisation"),
        ("detached", "black_box"),
        ("eight levels", "noise"),
    ],
)
def test_each_mask_is_caught_by_its_test(name: str, expected: str) -> None:
    assert expected in flags(TUNED[name](fitted(mlp)), count=64 if expected in ("transfer", "unbounded") else 32)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("peeping", "peeks"), ("coupled", "company"), ("shattered", "finite_differences")],
)
def test_a_model_that_behaves_is_told_from_one_that_does_not(name: str, expected: str) -> None:
    assert expected in flags(HELD[name](fitted(mlp)))


def test_an_honest_model_may_level_off_beyond_what_its_gradient_promises() -> None:
    small = fitted(mlp)

    class Bent(nn.Module):
        def forward(self, given: Tensor) -> Tensor:
            return 3 * (small(given) / 2).tanh()

    here = scene(Bent(), held(32)[0], radius=0.4)
    found = {check.name: check for check in battery(here, PLAN, least=0.4, rivals=False)}
    assert not found["finite_differences"].flagged
    assert not found["unstable"].flagged


def test_the_first_rows_of_a_scene_are_tested_as_they_are_alone() -> None:
    model, some = fitted(mlp), held(12)[0]
    whole = scene(model, torch.cat([some, held(64)[0]]), radius=0.1)
    few = replace(whole, centre=some, numbers=whole.numbers[:12])
    plan = Plan(attacks=(Attack.FGSM,), steps=1, queries=1)

    one, other = (
        [check.value for check in battery(here, plan, least=0.01)] for here in (few, scene(model, some, radius=0.1))
    )

    assert one == pytest.approx(other, rel=1e-4, abs=1e-4)


def test_loud_logits_fool_an_attack_on_the_likelihood_alone() -> None:
    small = fitted(mlp)

    class Loud(nn.Module):
        def forward(self, given: Tensor) -> Tensor:
            return 1e4 * small(given)

    assert "zero_gradient" in flags(Loud(), plan=Plan(attacks=(Attack.FGSM, Attack.PGD), steps=10))
    assert flags(Loud()) == set()


def test_an_attack_that_stops_too_early_is_told_to_go_on() -> None:
    weak = Plan(attacks=(Attack.PGD,), steps=2, restarts=1)

    assert "incomplete" in flags(fitted(cnn, noise=0.3), radius=0.06, count=64, plan=weak)


def test_the_surplus_is_the_exact_test_of_mcnemar() -> None:
    for other, ours in ((7, 0), (3, 5), (20, 8), (0, 0)):
        p = stats.binomtest(other, other + ours, alternative="greater").pvalue if other + ours else 1.0
        assert surplus(other=other, ours=ours) == pytest.approx(1 - p)


def test_what_is_no_number_is_flagged() -> None:
    assert Check(name="a", value=math.nan, limit=1.0, words="").flagged
    assert not Check(name="a", value=1.0, limit=1.0, words="").flagged


def test_the_edge_is_the_edge() -> None:
    inputs = torch.full((30, 1, 8, 8), 0.5)
    for norm, radius in ((Norm.LINF, 0.1), (Norm.L2, 1.0)):
        here = scene(fitted(mlp), inputs, radius=radius, norm=norm)
        points = edge(here, torch.arange(30), stream=0)
        assert torch.allclose(distance(points, inputs, norm), torch.full((30,), radius).double(), rtol=1e-4)


def test_the_binarised_task_has_an_answer_and_the_clean_input_is_none() -> None:
    here = scene(fitted(mlp), held(32)[0], radius=0.1)
    found = binarisation(here, PLAN)
    assert found is not None
    assert found.value == 0

    assert binarisation(scene(fitted(linear), held(32)[0][:5], radius=0.1), PLAN) is None


def test_flags_do_not_depend_on_a_draw() -> None:
    here = scene(fitted(mlp), held(16)[0], radius=0.1)
    one, other = ([check.value for check in battery(here, PLAN, least=0.01)] for _ in range(2))

    assert one == other


def normed() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.GELU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(96, 10)
    )


def squashed() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 48), nn.Tanh(), nn.Linear(48, 32), nn.Sigmoid(), nn.Linear(32, 10))


def deep() -> nn.Module:
    layers = [part for _ in range(4) for part in (nn.Linear(40, 40), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 40), nn.LayerNorm(40), *layers, nn.Linear(40, 10))


def chancy() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 96), nn.ReLU(), nn.Dropout(0.4), nn.Linear(96, 10), nn.LogSoftmax(dim=1)
    )


def scaled() -> nn.Module:
    class Scaled(nn.Module):
        def forward(self, given: Tensor) -> Tensor:
            return (given - 0.3) / 0.38

    return nn.Sequential(Scaled(), nn.Conv2d(1, 8, 3), nn.SiLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(72, 10))


HONEST = {"normed": normed, "squashed": squashed, "deep": deep, "chancy": chancy, "scaled": scaled}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [11, 12])
@pytest.mark.parametrize(("norm", "radius"), [(Norm.LINF, 0.1), (Norm.L2, 0.8)])
@pytest.mark.parametrize("noise", [0.0, 0.4])
@pytest.mark.parametrize("name", HONEST)
def test_no_other_honest_model_is_flagged(name: str, noise: float, norm: Norm, radius: float, seed: int) -> None:
    """40 models of architectures and seeds on which no limit was chosen."""
    model = fitted(HONEST[name], seed=seed, noise=noise)

    assert flags(model, norm=norm, radius=radius, count=64, plan=Plan(steps=20, queries=50)) == set()


def others() -> Iterator[Any]:
    """46 models of masks, architectures and seeds on which no limit was chosen; the one that is missed says so."""
    missed = pytest.mark.xfail(strict=True, reason="two of forty units pass in each layer, and no check sees it")
    for below in (normed, deep):
        for name in HELD:
            marks = [missed] if (below, name) == (deep, "few winners") else []
            yield pytest.param(below, name, id=f"{below.__name__}-{name}", marks=marks)


@pytest.mark.slow
@pytest.mark.parametrize(("below", "name"), list(others()))
def test_every_other_mask_is_flagged(below: Callable[[], nn.Module], name: str) -> None:
    assert flags(HELD[name](fitted(below, seed=21)), count=64, plan=Plan(steps=20, queries=50))
