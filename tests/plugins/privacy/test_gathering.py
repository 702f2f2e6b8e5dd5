"""When the gradients of single examples are made, while a backward pass runs."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from private_runs import CLASSES, clipped, examples, objective
from steelyard_privacy import _layers
from steelyard_privacy._engine import HookEngine, MicrobatchEngine
from steelyard_privacy._shares import Share
from steelyard_privacy._sums import Layout

COUNT = 5
WIDE, NARROW = 12, 6
"""Sides of what goes into a convolution of four channels that makes four, and of one that makes 64."""


def chain() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(NARROW),
        nn.Conv2d(4, 64, 5, stride=NARROW),
        nn.Flatten(),
        nn.Linear(64 * 1, CLASSES),
    )


def worked_on(monkeypatch: pytest.MonkeyPatch, model: nn.Sequential, *, steps: int = 1) -> list[int]:
    """The places in the model of the layers in the order in which their gradients are made."""
    order: list[int] = []
    real = _layers._of

    def noting(call: Any, back: Tensor, trained: Any, **named: Any) -> Sequence[Share]:
        order.append(list(model).index(call.module))
        return real(call, back, trained, **named)

    monkeypatch.setattr(_layers, "_of", noting)
    inputs, targets = examples(COUNT, shape=(2, WIDE, WIDE)).tensors
    batch, layout = (inputs.double(), targets), Layout(list(model.parameters()))
    engine = HookEngine(model, layout)
    expected, norms = clipped(MicrobatchEngine(), layout, batch, objective(model), max_norm=0.1)
    for _ in range(steps):
        order.clear()
        found, others = clipped(engine, layout, batch, objective(model), max_norm=0.1)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(others, norms, rtol=1e-10, atol=1e-12)
    return order


@pytest.mark.parametrize("steps", [1, 4])
def test_a_convolution_waits_for_the_end_where_its_gradients_take_more_than_what_they_are_made_of(
    monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    """Also in the fourth step, the first one that is not held against the ordinary gradient."""
    torch.manual_seed(0)
    assert worked_on(monkeypatch, chain().double(), steps=steps) == [7, 2, 0, 5]


def test_the_gradients_of_a_convolution_are_made_when_its_own_work_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """That work needs memory of the size of its input, and gives it back."""
    torch.manual_seed(0)
    model, events = chain().double(), list[str]()
    real = _layers.convolution_samples

    def noting(layer: nn.Module, *rest: Any) -> Any:
        events.append(f"gradients of {list(model).index(layer)}")
        return real(layer, *rest)

    def see(module: nn.Module, args: tuple[Tensor], output: Tensor) -> None:
        if args[0].requires_grad:
            args[0].register_hook(lambda _: events.append(f"what follows {list(model).index(module)}"))
            node = output.grad_fn
            assert node is not None
            node.register_hook(lambda *_: events.append(f"{list(model).index(module)}"))

    monkeypatch.setattr(_layers, "convolution_samples", noting)
    inputs, targets = examples(COUNT, shape=(2, WIDE, WIDE)).tensors
    layout = Layout(list(model.parameters()))
    with model[2].register_forward_hook(see):
        clipped(HookEngine(model, layout), layout, (inputs.double(), targets), objective(model), max_norm=0.1)
    assert events == ["2", "gradients of 2", "what follows 2", "gradients of 0", "gradients of 5"]
