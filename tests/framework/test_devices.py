"""What is known of a GPU before anybody wakes it."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from steelyard.advising.advice import limit_of, need
from steelyard.devices import first_gpu, on_gpu, workspaces
from steelyard.estimating import in_words
from steelyard.estimating.estimate import Estimate
from steelyard.estimating.machines import machine
from steelyard.estimating.settings import Planning
from steelyard.problem import Refused

MIB = 2**20
GIB = 2**30
TRAINED = OmegaConf.create({"trainer": {"accelerator": "auto"}})


class Library:
    """Two GPUs, as NVML's bindings tell of them."""

    cards = ((70 * GIB, (9, 0)), (20 * GIB, (8, 6)))

    def nvmlInit(self) -> None: ...

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any:
        return self.cards[index]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Any:
        return {"GPU-second": self.cards[1]}[uuid]

    def nvmlDeviceGetMemoryInfo(self, handle: Any) -> Any:
        return SimpleNamespace(free=handle[0])

    def nvmlDeviceGetCudaComputeCapability(self, handle: Any) -> Any:
        return handle[1]


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Library())
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def estimate(**more: Any) -> Estimate:
    tensors = {"weights": 300 * MIB, "activations": 600 * MIB, "workspace": 50 * MIB}
    on_gpu = {**tensors, "workspace": 0}
    return Estimate(
        flops=1, modules={}, memory=tensors, on_gpu=on_gpu, parameters=1, trainable=1, examples=1, held=1, **more
    )


@pytest.mark.parametrize("accelerator", ["gpu", "cuda", "auto", None])
def test_a_trainer_that_would_take_a_gpu_does_so_where_there_is_one(cards: None, accelerator: str | None) -> None:
    assert on_gpu({"accelerator": accelerator})
    assert on_gpu({})
    assert not on_gpu({"accelerator": "cpu"})


def test_without_a_gpu_none_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert not on_gpu({"accelerator": "gpu"})


def test_the_first_gpu_that_cuda_may_use_is_asked(cards: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert first_gpu() == (70 * GIB, 9)
    for names in ("1,0", "GPU-second"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", names)
        assert first_gpu() == (20 * GIB, 8)


def test_nobody_knows_where_the_library_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert first_gpu() == (None, None)


def test_cublas_gets_two_workspaces_whose_size_goes_by_the_card() -> None:
    assert workspaces(9) == workspaces(10) == workspaces() == 65 * MIB
    assert workspaces(8) == 17.25 * MIB


def test_what_a_gpu_must_have_is_tensors_and_workspaces_and_no_heap() -> None:
    there = estimate(gpu=True)
    assert there.process_bytes == there.gpu_bytes() == (900 + 65) * MIB
    assert there.gpu_bytes(8) == (900 + 17.25) * MIB
    assert need(there) == need(there, lean=True) > there.gpu_bytes()
    assert estimate().process_bytes != estimate().gpu_bytes()


def test_a_plan_for_the_gpu_of_this_machine_tells_of_its_memory(cards: None) -> None:
    rows = dict(in_words.rows(estimate(gpu=True), steps=1, target=None, precision="32-true"))
    assert rows["GPU memory"].startswith("about 965.0 MiB: 900.0 MiB of tensors and 65.0 MiB for cuBLAS")
    assert rows["fits"] == "yes, 70.0 GiB are free"
    assert "process memory" not in rows


def test_what_does_not_fit_on_it_is_told(cards: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Library, "cards", ((1 * GIB, (9, 0)),))
    rows = dict(in_words.rows(estimate(gpu=True), steps=1, target=None, precision="32-true"))
    assert "data.batch_size=" in rows["DOES NOT FIT"]


def test_for_a_named_machine_the_workspaces_are_its_own() -> None:
    assert [machine(name).major for name in ("b200", "h200", "h100", "a100", "mi300x")] == [10, 9, 9, 0, 0]


def test_the_limit_of_advice_is_the_memory_of_the_gpu(cards: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 69 * GIB < limit_of(TRAINED, Planning()) < 70 * GIB
    assert limit_of(TRAINED, Planning(gb=4)) == 4e9
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(Refused, match="pip install nvidia-ml-py"):
        limit_of(TRAINED, Planning())
