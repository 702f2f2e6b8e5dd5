import torch

from steelyard_compute import _memory
from steelyard_compute._memory import MIB, HighWater


def test_the_mark_rises_with_what_is_used_and_stays() -> None:
    mark = HighWater(torch.device("cpu"))
    before = mark.read().mib
    held = torch.ones(64 * MIB // 4)
    del held

    assert 55 < mark.read().mib - before < 90


def test_a_new_mark_forgets_the_old_one() -> None:
    held = torch.ones(64 * MIB // 4)
    high = HighWater(torch.device("cpu")).read().mib
    del held

    assert HighWater(torch.device("cpu")).read().mib < high - 50


def test_where_it_cannot_forget_it_says_so(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(_memory, "_CLEAR", tmp_path / "missing" / "clear_refs")
    monkeypatch.setattr(_memory, "_STATUS", tmp_path / "missing" / "status")

    peak = HighWater(torch.device("cpu")).read()

    assert peak.mib > 50
    assert "since the process began" in peak.of
