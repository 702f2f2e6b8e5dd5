"""Closed forms of every method that has one: linear, quadratic, product and maximum."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from questions_to_models import noise, to_score
from steelyard_interpretability.methods.registry import METHODS

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
