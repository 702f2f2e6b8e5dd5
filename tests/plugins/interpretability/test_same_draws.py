"""Methods that draw: Captum called by hand with our draws; and closed forms of those that differ by definition."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from captum._utils.models.linear_model import SkLearnLinearRegression, SkLearnRidge
from captum.attr import LimeBase, Saliency
from torch import Tensor, nn

from questions_to_models import noise, to_score
from steelyard_interpretability.methods.registry import METHODS
from steelyard_interpretability.methods.shapley import KERNEL_WIDTH, RIDGE, drawn, kernel_shap

pytestmark = pytest.mark.filterwarnings("ignore:Input Tensor")
UNITS = 8


class Watched:
    """A score of a smooth model, which remembers what it was asked."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model: Any = nn.Sequential(nn.Linear(UNITS, 16), nn.Tanh(), nn.Linear(16, 3)).double()
        self.seen: list[Tensor] = []

    def __call__(self, inputs: Tensor, rows: Tensor) -> Tensor:
        self.seen.append(inputs.detach())
        return self.model(inputs)[:, 1]


def test_gradient_shap_is_captums_gradient_at_the_same_places() -> None:
    score, inputs = Watched(), noise(5, UNITS).double()
    base = noise(5, UNITS, seed=1).double()
    ours = METHODS["gradient_shap"].explain(to_score(score, inputs, baselines=base))
    slopes = [Saliency(score.model).attribute(x.clone(), target=1, abs=False) for x in score.seen]
    torch.testing.assert_close(ours, (inputs - base) * torch.stack(slopes).mean(dim=0), rtol=0, atol=1e-6)
    places = [(x - base) / (inputs - base) for x in score.seen]
    assert all(float(place.min()) >= 0 and float(place.max()) <= 1 for place in places)


def by_hand(score: Watched, inputs: Tensor, keep: Tensor, weights: Tensor, model: Any) -> Tensor:
    """Captum's weighted fit to these coalitions, the baseline being zero."""
    lots, worth = iter(keep.double()), iter(weights.tolist())

    def perturb(original: Any, **settings: Any) -> Any:
        yield from (row[None] for row in lots)

    method: Any = LimeBase(
        score.model,
        model,
        lambda original, perturbed, interpretable, **settings: next(worth),
        perturb,
        True,
        lambda row, original, **settings: row * original,
        None,
    )
    return method.attribute(inputs, target=1, n_samples=len(keep), perturbations_per_eval=1)


def asked(score: Watched) -> Tensor:
    """The coalitions of the only example, whose inputs are not zero where they stay."""
    return torch.cat(score.seen) != 0


def test_kernel_shap_is_captums_fit_to_the_same_coalitions() -> None:
    score, inputs = Watched(), noise(1, UNITS).double()
    ours = kernel_shap(to_score(score, inputs), coalitions=60)
    keep, weights = drawn(UNITS, count=60, seed=0)
    # Captum holds the sum by a weight that outweighs all others, and so do we with a larger one here.
    ends = torch.tensor([1e9, 1e9], dtype=torch.double)
    assert torch.equal(asked(score)[2:], torch.as_tensor(keep))
    theirs = by_hand(
        score, inputs, asked(score), torch.cat([ends, torch.as_tensor(weights)]), SkLearnLinearRegression()
    )
    torch.testing.assert_close(ours, theirs.double().view_as(ours), rtol=0, atol=1e-6)


def test_lime_is_captums_fit_to_the_same_coalitions() -> None:
    score, inputs = Watched(), noise(1, UNITS).double()
    ours = METHODS["lime"].explain(to_score(score, inputs))
    keep = asked(score).double()
    weights = torch.exp(-(((1 - keep.mean(dim=1).sqrt()) / KERNEL_WIDTH) ** 2))
    centred = keep - (weights[:, None] * keep).sum(dim=0) / weights.sum()
    alpha = RIDGE * float((weights[:, None] * centred**2).sum(dim=0).mean())
    theirs = by_hand(score, inputs, asked(score), weights, SkLearnRidge(alpha=alpha))
    torch.testing.assert_close(ours, theirs.double().view_as(ours), rtol=0, atol=1e-6)


Form = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]
LINEAR = torch.linspace(-2, 3, 2).double()


def one_hot(x: Tensor) -> Tensor:
    return (x == x.amax(dim=1, keepdim=True)).double()


def lead(x: Tensor) -> Tensor:
    """What the larger one loses alone: the maximum falls to the smaller, with a baseline of zero."""
    return one_hot(x) * (x.amax(dim=1, keepdim=True) - x.amin(dim=1, keepdim=True))


FORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda x: x @ LINEAR,
    "quadratic": lambda x: x.square().sum(dim=1),
    "product": lambda x: x.prod(dim=1),
    "max": lambda x: x.amax(dim=1),
}
SLOPES: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda x: LINEAR.expand_as(x),
    "quadratic": lambda x: 2 * x,
    "product": lambda x: x.flip(1),
    "max": one_hot,
}
ALONE: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda x: LINEAR * x,
    "quadratic": torch.square,
    "product": lambda x: x.prod(dim=1, keepdim=True).expand_as(x),
    "max": lead,
}
SHARED: dict[str, Callable[[Tensor], Tensor]] = {
    **ALONE,
    "product": lambda x: x.prod(dim=1, keepdim=True).expand_as(x) / 2,
    "max": lambda x: lead(x) + x.amin(dim=1, keepdim=True) / 2,
}
ALONG: dict[str, Callable[[Tensor], Tensor]] = {**SHARED, "max": lambda x: one_hot(x) * x}
CLOSED: dict[str, dict[str, Callable[[Tensor], Tensor]]] = {
    "saliency": {form: lambda x, slope=slope: slope(x).abs() for form, slope in SLOPES.items()},
    "input_x_gradient": {form: lambda x, slope=slope: slope(x) * x for form, slope in SLOPES.items()},
    "integrated_gradients": ALONG,
    "ablation": ALONE,
    "occlusion": ALONE,
    "shapley": SHARED,
    "kernel_shap": SHARED,
    # Their draws leave more than rounding where the slope changes: along a path from zero a maximum keeps its side.
    "gradient_shap": {"linear": ALONE["linear"], "max": ALONG["max"]},
    "smoothgrad": {"linear": ALONE["linear"]},
}
"""Closed forms; LIME has none, as it punishes the size of what it fits."""


@pytest.mark.parametrize(("method", "form"), [(method, form) for method, forms in CLOSED.items() for form in forms])
def test_closed_forms_hold_to_a_millionth(method: str, form: str) -> None:
    inputs = noise(20, 2).double().abs() + 0.1
    score = FORMS[form]
    found = METHODS[method].explain(to_score(lambda x, rows: score(x), inputs))
    torch.testing.assert_close(found, CLOSED[method][form](inputs), rtol=0, atol=1e-6)
