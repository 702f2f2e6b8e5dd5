"""Requests and what is freed in a backward pass, against torch's profiler."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import linear
from torch.profiler import ProfilerActivity, profile

from steelyard.estimating._company import Moment
from steelyard.estimating._fake import Fakes
from steelyard.estimating._ledger import Ledger

LARGE = 1024
"""Bytes; smaller requests are scalars, of which kernels have some of their own."""


class Doubled(torch.autograd.Function):
    """Adds up in Python what it has made itself."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        del ctx
        return 3 * inputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        del ctx
        return 2 * gradients[0] + gradients[0]


class Put(torch.autograd.Function):
    """Puts gradients in Python into what it has made itself."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        del ctx
        return inputs[:, :1].clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        del ctx
        return torch.zeros(8, 16, 64).index_add(1, numbers(1), gradients[0])


CASES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "two ways": lambda inputs, weight: (inputs.sin() + inputs.cos()).tanh(),
    "three ways": lambda inputs, weight: (inputs.sin() + inputs.cos() + inputs.exp()).tanh(),
    "past a layer": lambda inputs, weight: (inputs + linear(inputs.sin(), weight)).tanh(),
    "beside a layer": lambda inputs, weight: (linear(inputs, weight) + linear(inputs, weight.t()) * 2).tanh(),
    "three layers": lambda inputs, weight: sum(linear(inputs, weight).tanh() for _ in range(3)),
    "added in Python": lambda inputs, weight: (Doubled.apply(inputs) + inputs.sin()).tanh(),
    "the same for all": lambda inputs, weight: inputs.sum() + inputs.mean() + inputs.tanh().sum(),
}
"""Each uses its inputs (8, 16, 64) more than once, so that the gradients of these are added up."""
TAKEN: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "gathered": lambda inputs, weight: inputs.gather(2, numbers(8, 16, 1)),
    "selected": lambda inputs, weight: inputs.index_select(1, numbers(3)),
    "by index": lambda inputs, weight: inputs[:, numbers(3), numbers(3)],
    "taken": lambda inputs, weight: inputs.take(numbers(5)),
    "largest": lambda inputs, weight: inputs.max(2)[0],
    "some of the largest": lambda inputs, weight: inputs.topk(3, 2)[0],
    "sorted": lambda inputs, weight: inputs.sort(2)[0],
    "log of the likelihood": lambda inputs, weight: inputs.log_softmax(2).gather(2, numbers(8, 16, 1)),
    "put in Python": lambda inputs, weight: Put.apply(inputs),
}
"""Each takes numbers out of its inputs, so that their gradients are put into zeros."""
CASES |= TAKEN


def numbers(*shape: int) -> Tensor:
    return torch.zeros(shape, dtype=torch.long)


def passed_back(case: str, inputs: Tensor, weight: Tensor) -> Callable[[], object]:
    loss = CASES[case](2 * inputs, weight).sum()
    return lambda: torch.autograd.grad(loss, [inputs])


def really(case: str, place: Path) -> list[int]:
    inputs, weight = torch.ones(8, 16, 64, requires_grad=True), torch.ones(64, 64)
    back = passed_back(case, inputs, weight)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        kept = back()
    found.export_chrome_trace(str(place))
    del kept
    events = [event for event in json.loads(place.read_text())["traceEvents"] if event.get("name") == "[memory]"]
    told, live = list[int](), set[int]()
    for one in (event["args"] for event in sorted(events, key=lambda event: event["ts"])):
        # What is freed that was made before is not always told.
        if one["Bytes"] > 0 or one["Addr"] in live:
            told.append(one["Bytes"])
        (live.add if one["Bytes"] > 0 else live.discard)(one["Addr"])
    return told


def booked(case: str) -> list[int]:
    fakes, ledger = Fakes(), Ledger()
    inputs, weight = fakes.like(torch.ones(8, 16, 64)).requires_grad_(), fakes.like(torch.ones(64, 64))
    with fakes.entered(ledger.see):
        back = passed_back(case, inputs, weight)
        ledger.moment, start, first = Moment.BACKWARD, ledger.now(), ledger.mark()
        kept = back()
        events, sizes = ledger.events()
        new = [event for event in [*events][start:] if max(event, ~event) >= first]
        asked = [sizes[event] if event >= 0 else -sizes[~event] for event in new]
    del kept
    return asked


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_added_up_and_put_into_zeros_in_place_where_torch_does_so(case: str, tmp_path: Path) -> None:
    real, told = really(case, tmp_path / "trace.json"), booked(case)
    assert [size for size in told if abs(size) > LARGE] == [size for size in real if abs(size) > LARGE]
