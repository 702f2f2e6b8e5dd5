"""Methods by name: closed forms, Captum called by hand, and what must not matter."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from captum.attr import (
    FeatureAblation,
)
from torch import Tensor, nn

from questions_to_models import noise, to_model, to_score
from steelyard.problem import Refused
from steelyard_interpretability.methods.grouping import grid
from steelyard_interpretability.methods.hooked import deep_lift
from steelyard_interpretability.methods.layered import at_layer, of_neuron
from steelyard_interpretability.methods.question import masked
from steelyard_interpretability.methods.registry import METHODS, Of, explain
from steelyard_interpretability.methods.shapley import drawn, exact, kernel_shap

pytestmark = pytest.mark.filterwarnings("ignore:Input Tensor", "ignore:Setting")

WEIGHTS = torch.linspace(-2, 3, 6)
COMPLETE = [name for name, method in METHODS.items() if method.complete and name != "deep_lift_shap"]
"""To the difference from the baseline; that of `deep_lift_shap` is shown on the clean models of the probe's tests."""
WITHOUT_LAYERS = [name for name, method in METHODS.items() if method.family != "layers"]


def close(ours: Tensor, theirs: Tensor, *, atol: float = 1e-6) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=atol)


def mlp() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))


def cnn() -> nn.Module:
    torch.manual_seed(0)
    body = (nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, stride=2), nn.ReLU())
    return nn.Sequential(*body, nn.Flatten(), nn.LazyLinear(3))


@pytest.mark.parametrize(
    "name",
    [
        "integrated_gradients",
        "input_x_gradient",
        "smoothgrad",
        "gradient_shap",
        "ablation",
        "occlusion",
        "shapley",
        "kernel_shap",
    ],
)
def test_a_linear_score_gives_weight_times_difference(name: str) -> None:
    weights = WEIGHTS.double()
    inputs, base = noise(20, 6).double(), noise(20, 6, seed=1).double()
    close(explain(name, to_score(lambda x, _: x @ weights + 5, inputs, baselines=base)), weights * (inputs - base))
    # In single precision the last bit of a value of 10 is worth 1e-6, so the bound is a part of the largest.
    right = (weights * (inputs - base)).float()
    single = to_score(lambda x, _: x @ WEIGHTS + 5, inputs.float(), baselines=base.float())
    close(explain(name, single), right, atol=1e-6 * float(right.abs().max()))


def test_deep_lift_of_a_linear_model_is_weight_times_difference() -> None:
    model = nn.Linear(6, 3)
    question = to_model(model, noise(20, 6), baselines=noise(20, 6, seed=1))
    weights = model.weight[model(question.inputs).argmax(dim=1)].detach()
    close(explain("deep_lift", question), weights * (question.inputs - question.baselines))


@pytest.mark.parametrize("name", ["integrated_gradients", "shapley", "kernel_shap"])
def test_a_product_is_shared_by_its_factors(name: str) -> None:
    question = to_score(lambda x, _: x[:, 0] * x[:, 1], noise(20, 2))
    close(explain(name, question), question.inputs.prod(dim=1, keepdim=True).expand(-1, 2) / 2)


@pytest.mark.parametrize("name", ["integrated_gradients", "ablation", "shapley", "kernel_shap"])
def test_squares_go_to_their_own_feature(name: str) -> None:
    question = to_score(lambda x, _: x.square().sum(dim=1), noise(20, 6).double())
    close(explain(name, question), question.inputs.square())


@pytest.mark.parametrize("name", ["shapley", "kernel_shap"])
def test_a_maximum_of_two_gives_half_the_smaller_and_the_rest_to_the_larger(name: str) -> None:
    inputs = noise(20, 2).abs()
    least, most = inputs.amin(dim=1, keepdim=True), inputs.amax(dim=1, keepdim=True)
    expected = torch.where(inputs == most, most - least / 2, least / 2)
    close(explain(name, to_score(lambda x, _: x.amax(dim=1), inputs)), expected)
    larger = explain("integrated_gradients", to_score(lambda x, _: x.amax(dim=1), inputs))
    close(larger, torch.where(inputs == most, most, 0.0))


@pytest.mark.parametrize("name", COMPLETE)
def test_complete_methods_add_up(name: str) -> None:
    question = to_model(mlp(), noise(12, 6))
    rows = question.rows()
    with torch.no_grad():
        difference = question.score(question.inputs, rows) - question.score(question.baselines, rows)
    error = (explain(name, question).sum(dim=1) - difference).abs() / difference.abs()
    assert float(error.max()) < (0.05 if name == "integrated_gradients" else 1e-4)


def test_ablation_of_a_large_picture_takes_squares_away_as_captum_does() -> None:
    torch.manual_seed(0)
    model: Any = nn.Sequential(
        nn.Conv2d(1, 2, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 15 * 19, 3)
    ).double()
    inputs = noise(1, 1, 32, 40).double()
    squares = (torch.arange(32)[:, None] // 2 * 16 + torch.arange(40) * 16 // 40)[None, None]
    theirs: Any = FeatureAblation(model).attribute(
        inputs, target=model(inputs).argmax(dim=1), feature_mask=squares, perturbations_per_eval=64
    )
    question = to_model(model, inputs)
    sizes = squares.flatten().bincount()[squares]
    close(explain("ablation", question), theirs / sizes)


def test_shapley_values_obey_their_axioms() -> None:
    model: Any = mlp()
    question = to_score(
        lambda x, _: model(x * torch.tensor([1.0, 1, 1, 1, 1, 0]))[:, 0] + x[:, 0] + x[:, 1], noise(8, 6)
    )
    values = exact(question)
    whole, empty = (masked(question.score, question, torch.full((1, 6), keep)) for keep in (True, False))
    close(values.sum(dim=1), (whole - empty)[:, 0].double())
    assert float(values[:, 5].abs().max()) < 1e-7
    twice = replace(question, score=lambda x, rows: 2 * question.score(x, rows))
    close(exact(twice), 2 * values)
    swapped = to_score(lambda x, _: x[:, 0] * x[:, 1] + x[:, 0] + x[:, 1], torch.ones(1, 3))
    assert float(exact(swapped)[0, 0] - exact(swapped)[0, 1]) == pytest.approx(0, abs=1e-7)


def test_kernel_shap_comes_near_the_exact_values_and_is_exact_with_all_coalitions() -> None:
    torch.manual_seed(0)
    model: Any = nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))
    question = to_model(model, noise(16, 12), baselines=noise(16, 12, seed=1))
    right = exact(question)
    near = kernel_shap(question, coalitions=200)
    assert float(((near - right).norm(dim=1) / right.norm(dim=1)).mean()) < 0.075
    close(kernel_shap(question, coalitions=4096), right.float(), atol=1e-6)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_larger_budget_comes_nearer(seed: int) -> None:
    torch.manual_seed(seed)
    model: Any = nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 4))
    question = replace(to_model(model, noise(8, 12, seed=seed)), seed=seed)
    right = exact(question).float()
    # Around 156 and 596 whole sizes would use up nearly all.
    counts = (80, 200, 400, 600, 1200)
    errors = [float((kernel_shap(question, coalitions=count) - right).norm() / right.norm()) for count in counts]
    assert errors == sorted(errors, reverse=True)


def test_coalitions_come_in_pairs_and_no_more_than_asked() -> None:
    keep, weights = drawn(12, count=200, seed=0)
    assert len(keep) == len(weights) <= 200
    rows = {row.tobytes() for row in keep}
    assert len(rows) == len(keep)
    assert all((~row).tobytes() in rows for row in keep)
    assert 0 not in keep.sum(axis=1)
    assert 12 not in keep.sum(axis=1)
    both, mass = drawn(5, count=30, seed=0)
    assert len({row.tobytes() for row in both}) == len(both) == 30
    sizes = both.sum(axis=1)
    assert mass[sizes == 1].sum() / mass[sizes == 2].sum() == pytest.approx((4 / 4) / (4 / 6))


@pytest.mark.parametrize("name", METHODS)
def test_batch_order_and_chunk_do_not_matter(name: str) -> None:
    question = to_model(cnn(), noise(7, 2, 8, 8), background=noise(3, 2, 8, 8, seed=4), effort=0.25)
    if METHODS[name].of is Of.LAYER:
        question = at_layer(question, "1")
    if METHODS[name].of is Of.NEURON:
        question = of_neuron(question, "1", (2, 3, 4))
    whole = explain(name, question)
    order = torch.tensor([3, 0, 6, 5, 1, 2, 4])
    scale = float(whole.abs().max())
    close(explain(name, question.only(order)), whole[order], atol=1e-5 * scale)
    alone = torch.cat([explain(name, question.only(row)) for row in torch.arange(7)[:, None]])
    close(alone, whole, atol=1e-5 * scale)
    close(explain(name, replace(question, at_once=5)), whole, atol=1e-5 * scale)
    assert torch.equal(explain(name, question), whole)


def test_the_engine_asks_for_no_more_than_allowed_and_equals_a_loop() -> None:
    sizes: list[int] = []

    def score(x: Tensor, rows: Tensor) -> Tensor:
        sizes.append(len(x))
        return (x * WEIGHTS).sum(dim=1).square() + rows

    question = to_score(score, noise(5, 6), baselines=noise(5, 6, seed=1), at_once=7)
    keep = noise(5, 9, 6) > 0
    found = masked(question.score, question, keep)
    assert max(sizes) == 7
    for example in range(5):
        for variant in range(9):
            mixed = torch.where(keep[example, variant], question.inputs[example], question.baselines[example])
            assert float(found[example, variant]) == pytest.approx(
                float((mixed * WEIGHTS).sum().square()) + example, rel=1e-5
            )
    close(masked(question.score, question, keep[0]), masked(question.score, question, keep[:1].expand(5, -1, -1)))


def test_a_model_that_works_in_place_leaves_the_inputs_alone() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(6, 3)

        def forward(self, inputs: Tensor) -> Tensor:
            inputs += 1
            return self.last(inputs.relu_())

    model = InPlace()
    inputs = noise(4, 6)
    question = to_model(model, inputs.clone())
    close(explain("integrated_gradients", question).sum(dim=1), _difference(question), atol=0.05)
    for name in WITHOUT_LAYERS:
        explain(name, question)
        assert torch.equal(question.inputs, inputs)


def _difference(question: Any) -> Tensor:
    with torch.no_grad():
        ends = [question.score(x.clone(), question.rows()) for x in (question.inputs, question.baselines)]
    return ends[0] - ends[1]


def test_units_that_are_a_grid_are_found() -> None:
    assert grid(torch.arange(12).view(3, 4).expand(2, 3, 4)) == (3, 4)
    assert grid(torch.arange(5)[:, None].expand(5, 7)) == (5,)
    assert grid(torch.arange(20) // 4) == (5,)


def test_many_units_are_put_together_and_padding_gets_nothing() -> None:
    question = to_score(lambda x, _: x.sum(dim=(1, 2)), torch.ones(2, 100, 1))
    there = torch.ones(2, 100, dtype=torch.bool)
    there[1, 40:] = False
    found = explain("shapley", replace(question, units=torch.arange(100)[:, None], present=there))
    assert float(found[1, 40:].abs().sum()) == 0
    assert float(found[0].sum()) == pytest.approx(100, rel=1e-4)


def test_an_unknown_method_is_refused_by_name() -> None:
    with pytest.raises(Refused, match="no method 'magic'"):
        explain("magic", to_model(mlp(), noise(2, 6)))


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 16), nn.Linear(16, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(self.first(inputs).relu())


@pytest.mark.parametrize(
    "trap",
    [
        Functional(),
        *(
            nn.Sequential(nn.Linear(6, 16), layer, nn.Linear(16, 3))
            for layer in (nn.GELU(), nn.SiLU(), nn.ReLU6(), nn.Mish(), nn.LayerNorm(16))
        ),
    ],
)
def test_deep_lift_that_does_not_add_up_is_refused(trap: nn.Module) -> None:
    torch.manual_seed(0)
    question = to_model(trap, 3 * noise(8, 6), baselines=noise(8, 6, seed=1))
    with pytest.raises(ValueError, match="take integrated_gradients"):
        explain("deep_lift", question)


def test_deep_lift_is_not_refused_for_the_rounding_of_an_example_that_is_its_own_baseline() -> None:
    torch.manual_seed(0)
    inputs = noise(8, 6)
    near = inputs * (1 + 2e-7 * noise(8, 6, seed=1).sign())
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
    model[2].bias.data += 10
    question = to_model(model, inputs, baselines=near)
    assert float(deep_lift(question).abs().max()) < 1e-5
    trap = nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.Linear(16, 3))
    with pytest.raises(ValueError, match="take integrated_gradients"):
        deep_lift(to_model(trap, inputs, baselines=inputs + 0.1))


def test_grad_cam_without_a_map_is_refused() -> None:
    with pytest.raises(ValueError, match="no convolution"):
        explain("grad_cam", to_model(mlp(), noise(2, 6)))
