"""Memory that oneDNN's convolutions take in passing, against torch's profiler."""

import copy
import json
import os
import platform
import subprocess
import sys
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from steelyard.estimating._fake import Fakes
from steelyard.estimating._ledger import Ledger

CASES = {
    "few channels": (nn.Conv2d(3, 16, 3), (32, 3, 12, 12)),
    "many channels": (nn.Conv2d(16, 32, 3, padding=1), (32, 16, 12, 12)),
    "in groups": (nn.Conv2d(32, 32, 3, groups=32), (32, 32, 12, 12)),
    "along a line": (nn.Conv1d(16, 32, 3), (32, 16, 200)),
    "transposed": (nn.ConvTranspose2d(32, 16, 3), (32, 32, 10, 10)),
}


def worked(layer: nn.Module, inputs: Tensor) -> list[Any]:
    out = layer(inputs)
    return [out, *torch.autograd.grad(out, [inputs, *layer.parameters()], torch.ones_like(out))]


def requests(layer: nn.Module, inputs: Tensor, place: Path) -> list[int]:
    """Bytes that were taken, or given back if less than 0, after a first time that sets the kernels up."""
    worked(layer, inputs)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        kept = worked(layer, inputs)
    profile.export_chrome_trace(str(place))
    del kept
    events = [event for event in json.loads(place.read_text())["traceEvents"] if event.get("name") == "[memory]"]
    return [event["args"]["Bytes"] for event in sorted(events, key=lambda event: event["ts"])]


def really(layer: nn.Module, inputs: Tensor, place: Path) -> int:
    """Bytes at the peak."""
    return max(accumulate(requests(layer, inputs, place)))


def foreseen(layer: nn.Module, inputs: Tensor) -> int:
    fakes, ledger = Fakes(), Ledger()
    fake, given = fakes.copied(layer), fakes.like(inputs).requires_grad_()
    for tensor in (given, *fake.parameters()):
        ledger.note(tensor, "weights")
    before = ledger.peak()["weights"]
    with fakes.entered(ledger.see):
        kept = worked(fake, given)
    del kept
    return sum(ledger.peak().values()) - before


def booked(layer: nn.Module, inputs: Tensor) -> list[int]:
    """Bytes that are taken, by the books."""
    fakes, ledger = Fakes(), Ledger()
    fake, given = fakes.copied(layer), fakes.like(inputs).requires_grad_()
    with fakes.entered(ledger.see):
        ledger.note(given)
        before = ledger.mark()
        kept = worked(fake, given)
    del kept
    return [*ledger.events()[1]][before:]


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN")
@pytest.mark.parametrize("case", CASES)
def test_a_convolution_takes_copies_of_what_goes_in_and_comes_out(case: str, tmp_path: Path) -> None:
    layer, shape = CASES[case]
    inputs = torch.zeros(shape, requires_grad=True)
    real, told = really(layer, inputs, tmp_path / "trace.json"), foreseen(layer, inputs)
    # What kernels need beside it is small, and some lay channels in larger blocks than others.
    assert told == pytest.approx(real, rel=0.1)
    # Without the copies it would be far off: what comes out, its gradient and those of the weights are less.
    bare = sum(tensor.numel() for tensor in worked(layer, inputs)) * 4
    assert bare < 0.9 * real


OTHERWISE = {
    "turned": lambda shape: torch.zeros(*shape[:-2], shape[-1], shape[-2]).transpose(-1, -2),
    "a part": lambda shape: torch.zeros(shape[0], shape[1] + 1, *shape[2:])[:, 1:],
}


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN")
@pytest.mark.parametrize("case", ["few channels", "many channels", "along a line"])
@pytest.mark.parametrize("way", OTHERWISE)
def test_what_lies_in_no_order_is_put_in_order_for_the_whole_of_an_operation(
    case: str, way: str, tmp_path: Path
) -> None:
    layer, shape = CASES[case]
    inputs = OTHERWISE[way](shape).requires_grad_()
    assert not inputs.is_contiguous()
    real, told = really(layer, inputs, tmp_path / "trace.json"), foreseen(layer, inputs)
    assert told == pytest.approx(real, rel=0.1)
    # As many requests of that size as in the books, forward and back.
    wanted = inputs.numel() * 4
    ordered = torch.zeros(shape, requires_grad=True)
    counts = [requests(layer, one, tmp_path / "trace.json").count(wanted) for one in (inputs, ordered)]
    assert counts[0] > counts[1]
    assert [booked(layer, one).count(wanted) for one in (inputs, ordered)] == counts


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN")
def test_a_gradient_that_lies_in_another_order_is_put_in_order() -> None:
    layer = nn.Conv2d(16, 32, 3, padding=1)
    fakes, ledger = Fakes(), Ledger()
    fake, given = fakes.copied(layer), fakes.like(torch.zeros(32, 16, 12, 12)).requires_grad_()
    wanted = 4 * 32 * 32 * 12 * 12
    with fakes.entered(ledger.see):
        out = fake(given)
        before = ledger.mark()
        torch.autograd.grad(out, given, torch.ones_like(out).to(memory_format=torch.channels_last))
    # The gradient, in the other order, in this, and in that of the kernel.
    assert ledger.events()[1][before:].count(wanted) == 4


@pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() != "AVX512", reason="another kernel's in 16 bits")
@pytest.mark.parametrize("case", ["few channels", "many channels"])
def test_in_bfloat16_there_are_as_many_copies(case: str, tmp_path: Path) -> None:
    layer, shape = CASES[case]
    layer, inputs = copy.deepcopy(layer).bfloat16(), torch.zeros(shape, dtype=torch.bfloat16, requires_grad=True)
    real, told = really(layer, inputs, tmp_path / "trace.json"), foreseen(layer, inputs)
    assert told == pytest.approx(real, rel=0.1)


LAID = {4: torch.channels_last, 5: torch.channels_last_3d}


def last(layer: nn.Module) -> nn.Module:
    return layer.to(memory_format=torch.channels_last)


LAST = {
    "all alike": (last(nn.Conv2d(16, 32, 3, padding=1)), (32, 16, 12, 12)),
    "of one channel": (last(nn.Conv2d(1, 32, 3, padding=1)), (32, 1, 12, 12)),
    "of much weight": (last(nn.Conv2d(128, 256, 3)), (4, 128, 4, 4)),
    "normalised by the batch": (last(nn.Sequential(nn.Conv2d(16, 256, 1), nn.BatchNorm2d(256))), (32, 16, 4, 4)),
    "of a video": (nn.Conv3d(16, 32, 3, padding=1).to(memory_format=torch.channels_last_3d), (8, 16, 4, 12, 12)),
    "normalised by groups": (last(nn.Sequential(nn.Conv2d(16, 256, 1), nn.GroupNorm(8, 256))), (32, 16, 4, 4)),
}


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN")
@pytest.mark.parametrize("case", LAST)
def test_where_the_channels_lie_last_only_weights_are_copied(case: str, tmp_path: Path) -> None:
    layer, shape = LAST[case]
    inputs = torch.zeros(shape).to(memory_format=LAID[len(shape)]).requires_grad_()
    real, told = really(layer, inputs, tmp_path / "trace.json"), foreseen(layer, inputs)
    assert told == pytest.approx(real, rel=0.05)


def test_one_example_and_double_precision_are_another_kernel_s() -> None:
    layer = nn.Conv2d(16, 16, 3).double()
    for kind, rows in ((torch.float64, 4), (torch.float32, 1)):
        fakes, ledger = Fakes(), Ledger()
        fake, given = fakes.copied(layer.to(kind)), fakes.like(torch.zeros(rows, 16, 8, 8, dtype=kind))
        with fakes.entered(ledger.see):
            kept = fake(given)
        assert ledger.peak()["workspace"] == kept.numel() * kept.element_size()


WRITTEN = """
import torch
from steelyard import resident
from steelyard.estimating._onednn import recurrent
torch.set_num_threads(1)
layer, inputs = torch.nn.LSTM(256, 256), torch.randn(8, 512, 256)
kept = layer(inputs)
del kept
resident.settle()
before = resident.held() - resident.files()
kept, (state, cell) = layer(inputs)
found = resident.held() - resident.files() - before - 4 * (kept.numel() + state.numel() + cell.numel())
own = recurrent(inputs, layer.weight_hh_l0)
print(found / own.written, own.written / own.kept)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this C library has another allocator")
def test_of_what_an_lstm_keeps_a_third_is_written_to_before_the_backward_pass() -> None:
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    words = [sys.executable, "-c", WRITTEN]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    written, share = map(float, done.stdout.split())
    assert written == pytest.approx(1, abs=0.1)
    assert share < 0.35
