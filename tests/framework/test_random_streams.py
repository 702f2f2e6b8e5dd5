"""Random streams come back, and a GPU that sleeps is left asleep."""

import pytest
import torch

from steelyard import randomness


def woken(*_: object, **__: object) -> None:
    raise AssertionError("CUDA was woken")


def test_a_gpu_that_nobody_has_used_is_left_asleep_and_is_seeded_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.setattr(torch.cuda, "get_rng_state", woken)
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", woken)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    seeds.clear()
    with randomness.forked():
        torch.manual_seed(12)
    assert seeds[-1] == 11
    assert torch.equal(torch.rand(3), expected)
    assert randomness.states()["cuda"] == []
