"""Norm layers: their gradients from what they have found of their input."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from private_runs import CLASSES, clipped, examples, objective
from steelyard_privacy import _layers, _recording
from steelyard_privacy._engine import HookEngine, MicrobatchEngine
from steelyard_privacy._moments import moments_of
from steelyard_privacy._sums import Layout

COUNT = 9


def test_what_group_normalisation_keeps_is_still_read_off_its_node() -> None:
    """Named as torch 2.13.0 names it; without it the input is normalised once more, which is slower."""
    inputs = torch.randn(3, 4, 5, requires_grad=True)
    found = moments_of(nn.GroupNorm(2, 4)(inputs).grad_fn)
    assert found is not None
    groups = inputs.detach().view(3, 2, -1)
    torch.testing.assert_close(found.mean, groups.mean(dim=2))
    torch.testing.assert_close(found.scale, (groups.var(dim=2, correction=0) + 1e-5).rsqrt())


@pytest.mark.parametrize("normalised", [(5,), (4, 5)])
def test_what_layer_normalisation_keeps_is_still_read_off_its_node(normalised: tuple[int, ...]) -> None:
    inputs = torch.randn(3, 4, 5, requires_grad=True)
    found = moments_of(nn.LayerNorm(normalised)(inputs).grad_fn)
    assert found is not None
    over = (1, 2)[-len(normalised) :]
    torch.testing.assert_close(found.mean, inputs.detach().mean(dim=over, keepdim=True))
    scale = (inputs.detach().var(dim=over, correction=0, keepdim=True) + 1e-5).rsqrt()
    torch.testing.assert_close(found.scale, scale)


def test_other_operations_keep_none() -> None:
    assert moments_of(nn.BatchNorm1d(4)(torch.randn(3, 4, 5, requires_grad=True)).grad_fn) is None


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("shape", [(4, 6, 6), (4,), (4, 1)])
def test_gradients_of_group_normalisation_need_no_second_one(
    monkeypatch: pytest.MonkeyPatch, known: bool, shape: tuple[int, ...]
) -> None:
    if not known:
        monkeypatch.setattr(_recording, "moments_of", lambda _: None)
    monkeypatch.setattr(_layers, "at_once", lambda *_: 4)
    torch.manual_seed(0)
    model = nn.Sequential(nn.GroupNorm(2, 4), nn.ReLU(), nn.GroupNorm(1, 4), nn.Flatten(), nn.LazyLinear(CLASSES))
    inputs, targets = examples(COUNT, shape=shape).tensors
    model(inputs + 5)
    batch = (inputs.double() + 5, targets)
    model.double()
    layout = Layout(list(model.parameters()))
    found, expected = (
        clipped(one, layout, batch, objective(model), max_norm=0.1)
        for one in (HookEngine(model, layout), MicrobatchEngine())
    )
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(("shape", "normalised"), [((4, 6), (6,)), ((4, 6), (4, 6)), ((6,), (6,)), ((2, 4, 6), (6,))])
def test_gradients_of_layer_normalisation_need_no_second_one(
    monkeypatch: pytest.MonkeyPatch, known: bool, shape: tuple[int, ...], normalised: tuple[int, ...]
) -> None:
    if not known:
        monkeypatch.setattr(_recording, "moments_of", lambda _: None)
    again: list[object] = []
    monkeypatch.setattr(_layers.functional, "layer_norm", _noting(_layers.functional.layer_norm, again))
    torch.manual_seed(0)
    model = nn.Sequential(nn.LayerNorm(normalised), nn.ReLU(), nn.LayerNorm(normalised), nn.Flatten())
    model.append(nn.Linear(math.prod(shape), CLASSES)).double()
    inputs, targets = examples(COUNT, shape=shape).tensors
    batch, layout = (inputs.double() + 5, targets), Layout(list(model.parameters()))
    expected, _ = clipped(MicrobatchEngine(), layout, batch, objective(model), max_norm=0.1)
    again.clear()
    found, _ = clipped(HookEngine(model, layout), layout, batch, objective(model), max_norm=0.1)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    # Two layers in the forward pass.
    assert (len(again) == 2) is known


def _noting(real: Callable[..., torch.Tensor], calls: list[object]) -> Callable[..., torch.Tensor]:
    def noted(*args: Any, **named: Any) -> torch.Tensor:
        calls.append(args)
        return real(*args, **named)

    return noted


class Turned(nn.Module):
    """Its gradient comes back with the channels last in memory, as some convolutions give it."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        turned = inputs * 1
        if turned.requires_grad:
            turned.register_hook(lambda gradient: gradient.contiguous(memory_format=torch.channels_last))
        return turned


def test_a_gradient_may_come_back_in_another_order_in_memory() -> None:
    torch.manual_seed(0)
    parts = [nn.Conv2d(2, 4, 1), nn.GroupNorm(2, 4), Turned(), nn.Flatten(), nn.Linear(4 * 36, CLASSES)]
    model = nn.Sequential(*parts).double()
    inputs, targets = examples(COUNT, shape=(2, 6, 6)).tensors
    batch, layout = (inputs.double(), targets), Layout(list(model.parameters()))
    seen: list[bool] = []

    def see(module: nn.Module, args: object, output: torch.Tensor) -> None:
        if output.requires_grad:
            node = output.grad_fn
            assert node is not None
            node.register_prehook(lambda gradients: seen.append(gradients[0].is_contiguous()))

    expected, norms = clipped(MicrobatchEngine(), layout, batch, objective(model), max_norm=0.1)
    engine = HookEngine(model, layout)
    with parts[1].register_forward_hook(see):
        found, others = clipped(engine, layout, batch, objective(model), max_norm=0.1)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(others, norms, rtol=1e-10, atol=1e-12)
    # What the engine is shown first.
    assert seen == [False]
