from collections.abc import Callable

import pytest
import torch
from captum.attr import IntegratedGradients
from torch import Tensor, nn

from steelyard_interpretability import _gradients
from steelyard_interpretability._gradients import Explained, completeness_errors, integrated, integrated_gradients


def explain(score: Callable[[Tensor], Tensor], inputs: Tensor, baselines: Tensor, **settings: float) -> Explained:
    return integrated_gradients(
        lambda x, _: score(x),
        inputs=inputs,
        baselines=baselines,
        rows=torch.zeros(len(inputs), dtype=torch.long),
        tolerance=settings.get("tolerance", 0.05),
        max_steps=int(settings.get("max_steps", 512)),
    )


def pair(count: int = 20, width: int = 6) -> tuple[Tensor, Tensor]:
    stream = torch.Generator().manual_seed(0)
    return torch.randn(count, width, generator=stream), torch.randn(count, width, generator=stream)


def test_a_linear_model_gets_weight_times_difference() -> None:
    inputs, baselines = pair()
    weights = torch.linspace(-2, 3, 6)

    found = explain(lambda x: x @ weights + 5, inputs, baselines)

    assert torch.allclose(found.attributions, weights * (inputs - baselines), rtol=0, atol=1e-6)
    assert bool(found.converged.all())
    assert set(found.steps.tolist()) == {7}


def test_a_product_is_shared_by_its_factors() -> None:
    inputs, _ = pair(width=2)
    found = explain(lambda x: x[:, 0] * x[:, 1], inputs, torch.zeros_like(inputs))

    half = inputs.prod(dim=1, keepdim=True) / 2
    assert torch.allclose(found.attributions, half.expand(-1, 2), rtol=0, atol=1e-6)


def test_squares_go_to_their_own_feature() -> None:
    inputs, baselines = (part.double() for part in pair())
    found = explain(lambda x: x.square().sum(dim=1), inputs, baselines)

    assert torch.allclose(found.attributions, inputs.square() - baselines.square(), rtol=0, atol=1e-6)


def test_it_is_captum_called_by_hand() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 32), nn.GELU(), nn.Linear(32, 3))
    model.double()
    inputs, baselines = (part.double() for part in pair())
    decisions = model(inputs).argmax(dim=1)

    ours = integrated_gradients(
        lambda x, chosen: model(x).gather(1, chosen[:, None])[:, 0],
        inputs=inputs,
        baselines=baselines,
        rows=decisions,
        tolerance=1e-9,
        max_steps=512,
    )
    theirs = IntegratedGradients(model).attribute(inputs, baselines=baselines, target=decisions, n_steps=64)

    assert torch.allclose(ours.attributions, theirs, rtol=0, atol=1e-7)


def kinks(inputs: Tensor) -> Tensor:
    return (inputs.sum(dim=1) * 3 - 1).relu() + (1 - inputs[:, 0] * 7).relu()


def test_steps_double_until_it_adds_up_and_only_where_needed() -> None:
    inputs, baselines = pair(count=60)

    found = explain(kinks, inputs, baselines, tolerance=0.01)

    difference = kinks(inputs) - kinks(baselines)
    error = (found.attributions.sum(dim=1) - difference).abs()
    assert bool((error[found.converged] <= 0.01 * difference.abs()[found.converged] + 1e-4).all())
    assert int(found.steps.min()) == 7 < int(found.steps.max())
    assert float(found.converged.double().mean()) > 0.8


def test_no_gradient_is_asked_for_twice() -> None:
    inputs, baselines = (part.double() for part in pair(count=60))
    asked: list[Tensor] = []

    def score(given: Tensor) -> Tensor:
        asked.append(given.detach())
        return kinks(given)

    found = explain(score, inputs, baselines, tolerance=0.01)

    points = torch.cat(asked)
    assert len(points) == 2 * len(inputs) + int(found.steps.sum())
    assert len(points.unique(dim=0)) == len(points)


@pytest.mark.parametrize("steps", [7, 15])
def test_twice_as_many_steps_are_those_that_were_there_and_those_between(steps: int) -> None:
    inputs, baselines = (part.double() for part in pair())
    settings = {"inputs": inputs, "baselines": baselines, "rows": torch.arange(len(inputs))}

    def along(steps: int, half: Tensor | None = None) -> Tensor:
        return integrated(lambda x, _: kinks(x), **settings, steps=steps, half=half, at_once=50)

    assert torch.allclose(along(2 * steps + 1, along(steps)), along(2 * steps + 1), rtol=0, atol=1e-12)


def test_what_does_not_add_up_is_flagged() -> None:
    inputs, baselines = pair(count=60)

    found = explain(kinks, inputs, baselines, tolerance=1e-6, max_steps=15)

    assert not bool(found.converged.all())
    assert bool((found.errors[~found.converged] > 1e-6).all())
    assert set(found.steps[~found.converged].tolist()) == {15}


def test_a_step_function_can_never_add_up() -> None:
    inputs, baselines = pair()
    found = explain(lambda x: (x.sum(dim=1) > 0).float() + 0 * x.sum(dim=1), inputs, baselines)

    changed = (inputs.sum(dim=1) > 0) != (baselines.sum(dim=1) > 0)
    assert bool((~found.converged[changed]).all())
    assert bool(found.converged[~changed].all())


def test_contributions_that_cancel_are_no_error() -> None:
    attributions = torch.tensor([[1000.0, -1000.0001]])

    assert float(completeness_errors(attributions, difference=torch.tensor([0.0]))) < 0.05
    assert float(completeness_errors(torch.zeros(1, 2), difference=torch.zeros(1))) == 0
    assert float(completeness_errors(torch.zeros(1, 2), difference=torch.ones(1))) == 1


@pytest.mark.parametrize("size", [1, 7])
def test_the_batch_does_not_matter(size: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 1), nn.Flatten(0))
    inputs, baselines = pair(count=14)

    whole = explain(model, inputs, baselines).attributions
    parts = [
        explain(model, some, base).attributions
        for some, base in zip(inputs.split(size), baselines.split(size), strict=True)
    ]

    assert torch.allclose(whole, torch.cat(parts), rtol=1e-5, atol=1e-6)


def test_an_output_without_gradient_is_refused() -> None:
    inputs, baselines = pair()
    with pytest.raises(ValueError, match="carries no gradient"):
        explain(lambda x: x.detach().sum(dim=1), inputs, baselines)


def test_little_memory_changes_nothing_but_how_many_go_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = nn.Linear(6, 1).double()
    seen: list[int] = []

    def score(inputs: Tensor) -> Tensor:
        inputs.register_hook(lambda gradient: seen.append(len(gradient)))
        return layer(inputs.tanh())[:, 0]

    inputs, baselines = pair(count=5)
    plenty = explain(score, inputs.double(), baselines.double(), max_steps=32, tolerance=1e-4)
    most = max(seen)
    seen.clear()
    # An example keeps its tanh, once for itself and once for the weights.
    monkeypatch.setattr(_gradients, "KEPT", 2 * (2 * 6 * 8))
    little = explain(score, inputs.double(), baselines.double(), max_steps=32, tolerance=1e-4)
    torch.testing.assert_close(little.attributions, plenty.attributions)
    assert torch.equal(little.steps, plenty.steps)
    assert most >= 5 * 7
    assert max(seen) <= 2
